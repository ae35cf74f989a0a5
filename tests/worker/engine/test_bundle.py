"""A bundle predicts in a process that knows nothing of us, and as the service measured."""

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.worker.conftest import (
    REGRESSION,
    Recorder,
    Rows,
    make_rows,
    make_spec,
)
from worker.engine.request import Request
from worker.engine.run import run

Ask = Callable[..., Request]
TEST = {"split": {}, "test_id": "ds_" + "1" * 32}
REGRESS = {**REGRESSION, "evaluation": {"metrics": ["mae"]}, "dataset": TEST}
SPECS = {
    "linear": REGRESS,
    "logistic": {"dataset": TEST},
    "binary": {"dataset": TEST, "training": {"loss": {"type": "binary_cross_entropy"}}},
    "mlp": {"model": {"type": "mlp", "dropout": 0.2}, "dataset": TEST},
    "mlp regression": {**REGRESS, "model": {"type": "mlp", "task": "regression"}},
}


@pytest.mark.parametrize("name", SPECS)
def test_a_bundle_predicts_what_was_measured(ask: Ask, tmp_path: Path, name: str) -> None:
    classify = "mae" not in str(SPECS[name])
    rows, test = (make_test_rows(count, classify, name == "binary") for count in (80, 40))
    request, recorder = ask(make_spec(**SPECS[name]), rows, test), Recorder()
    evaluation = run(request, recorder).evaluation
    assert evaluation is not None
    folder = unpack(request, f"a1/s{evaluation['checkpoint_step']}", tmp_path / "bundle")
    answers = predict_apart(folder, test)
    assert len(answers) == 40
    if classify:
        right = sum(a == str(y) for a, y in zip(answers, test["y"], strict=True))
        assert right / 40 == evaluation["test"]["accuracy"]
    else:
        error = sum(abs(float(a) - y) for a, y in zip(answers, test["y"], strict=True)) / 40
        assert error == pytest.approx(evaluation["test"]["mae"], rel=1e-12)


def make_test_rows(count: int, classify: bool, binary: bool) -> Rows:
    rows = make_rows(count, classify, seed=count)
    rows["a"][3] = None
    rows["kind"][5] = None
    if binary:
        rows["y"] = ["c0" if label == "c0" else "c1" for label in rows["y"]]
    if count == 40:
        rows["kind"][6] = "never seen"
    return rows


def unpack(request: Request, checkpoint: str, folder: Path) -> Path:
    """What the service puts into the download."""
    shutil.copytree(request.folder / "bundle", folder)
    shutil.copy(request.folder.parent / checkpoint / "model.safetensors", folder)
    return folder


def predict_apart(folder: Path, rows: Rows) -> list[str]:
    path = folder / "rows.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(rows)
        writer.writerows(zip(*rows.values(), strict=True))
    return call_apart(folder, "predict.py", str(path))


def call_apart(folder: Path, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-I", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_lines_of_the_readme_work(ask: Ask, tmp_path: Path) -> None:
    request = ask()
    run(request, Recorder())
    folder = unpack(request, "a1/s18", tmp_path / "bundle")
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert len(code.splitlines()) == 5
    label, shares = call_apart(folder, "-c", f"import sys; sys.path.insert(0, '.')\n{code}")
    assert re.fullmatch(r"\['c[012]'\]", label)
    assert "'c2': 0." in shares


@pytest.mark.parametrize(
    ("cells", "words"),
    [("a,b\n1,2\n", "column 'c', row 1: is absent"), (None, "rows.csv")],
)
def test_rows_that_cannot_be_read_are_one_line(
    ask: Ask, tmp_path: Path, cells: str | None, words: str
) -> None:
    request = ask()
    run(request, Recorder())
    folder = unpack(request, "a1/s18", tmp_path / "bundle")
    if cells is not None:
        (folder / "rows.csv").write_text(cells)
    command = [sys.executable, "-I", "predict.py", "rows.csv"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert words in line


def test_a_bundle_holds_no_trace_of_the_service_but_its_recipe(ask: Ask) -> None:
    request = ask()
    run(request, Recorder())
    folder = request.folder / "bundle"
    assert not re.search(r"^(from|import) worker", (folder / "predict.py").read_text(), re.M)
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    assert config["inputs"] == [6]
    assert config["outputs"] == 3
    assert config["spec"]["training"]["epochs"] == 3
    assert str(request.folder) not in json.dumps(config)
