from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from client import Trainsmith
from client.answers import Event
from client.watch import Curves, describe_event, describe_scores, describe_seconds, watch_job
from tests.client.conftest import ScriptedServer, answer
from tests.client.test_cli import FEED, ID, make_job
from tests.client.test_feed import frame, stream


def make_event(type: str, **data: Any) -> Event:
    return {"seq": 1, "type": type, "attempt": 1, "time": "2026-01-31T12:00:00Z", "data": data}


def test_steps_that_are_done_again_are_forgotten() -> None:
    curves = Curves()
    points = [["train/loss", step, 1.0] for step in (10, 20, 30)]
    curves.add(make_event("metric", points=points))
    curves.add(make_event("resumed", step=20))
    curves.add(make_event("metric", points=[["train/loss", 30, 0.5]]))
    assert curves.read_losses() == {"train/loss": [(10, 1.0), (20, 1.0), (30, 0.5)]}
    assert curves.latest["train/loss"] == 0.5


def test_folds_are_shown_one_by_one_and_together() -> None:
    fold = {"fold": 2, "folds": 5, "scores": {"loss": 0.123456, "accuracy": 0.9}}
    assert describe_event(make_event("fold", **fold)) == "fold 2/5: accuracy 0.9  loss 0.1235"
    failed = make_event("fold", fold=3, folds=5, scores={})
    assert describe_event(failed) == "fold 3/5: not measured"
    folds = {"folds": [{}, {}], "mean": {"accuracy": 0.9}, "std": {"accuracy": 0.0123}}
    text = describe_scores({"test": {"accuracy": 0.97}, "cross_validation": folds})
    assert text == "test/accuracy 0.97\nover 2 folds: accuracy 0.9 ± 0.012"


def test_a_useless_model_is_seen_beside_its_baseline() -> None:
    baseline = {"kind": "majority_class", "accuracy": 0.5}
    text = describe_scores({"test": {"accuracy": 0.48}, "baseline": baseline})
    assert text == "test/accuracy 0.48\nbaseline (majority class): accuracy 0.5"


def test_a_learning_rate_that_was_found_is_shown() -> None:
    event = make_event("lr_finder", chosen=0.012345, points=[[0.1, 1.0]])
    assert describe_event(event) == "learning rate found: 0.0123"


def test_a_job_is_watched_on_a_terminal_too(server: ScriptedServer, client: Trainsmith) -> None:
    scores = answer(200, {"test": {"accuracy": 0.97}})
    done = make_job(status="succeeded")
    end = frame(5, "state", status="succeeded")
    server.script = [stream(*FEED, end), answer(200, make_job()), answer(200, done), scores]
    screen = Console(file=StringIO(), force_terminal=True, width=80)
    assert watch_job(client, ID, screen) == done
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "40/100" in shown
    assert "test/accuracy 0.97" in shown


def test_text_of_a_job_is_shown_as_it_is() -> None:
    line = describe_event(make_event("warning", message="[red]column[/red] 'a'"))
    console = Console(file=StringIO())
    console.print(line)
    assert "[red]column[/red] 'a'" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("seconds", "text"), [(6.4, "0:06"), (75, "1:15"), (7322, "2:02:02")])
def test_seconds_are_shown_as_a_clock(seconds: float, text: str) -> None:
    assert describe_seconds(seconds) == text
