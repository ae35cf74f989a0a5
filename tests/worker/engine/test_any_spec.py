"""What is accepted trains, resumes exactly and predicts what was measured: specs drawn at random
for every family, what it reads and what it predicts, over files that were read as uploads are."""

import io
import json
import runpy
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from app.datasets.inspect import inspect
from app.datasets.tables import Dataset
from app.jobs.checks import resolve
from app.specs import JobSpec
from app.specs.columns import Column
from tests.worker.conftest import Recorder, next_attempt, stop_at
from tests.worker.draws import CASES, Cells, Draw, draw_spec
from tests.worker.engine.test_bundle import unpack
from worker.engine.request import Request, Table
from worker.engine.run import run

ROWS, TESTED = 40, 12

# ---------------------------------------------------------------- the data


@dataclass(frozen=True)
class Data:
    """An upload: its rows as a client has them, what was found in it, and its table."""

    rows: list[Cells]
    dataset: Dataset
    table: Table


def make_row(draw: Draw, place: int) -> Cells:
    word = ("good", "bad", "ugly")[place % 3]
    level = draw.gauss(0, 1)
    steps = range(1 + place % 5)
    return {
        "a": None if place % 9 == 4 else 10 + level,
        "b": draw.gauss(0, 1e6),
        "color": draw.choice(("red", "green", None)),
        "flag": draw.random() < 0.5,
        "review": f"{word} or so, {draw.choice(('it', 'all'))} {level:.1f}" if place % 8 else None,
        "steps": [[level + step, draw.gauss(0, 1e-3)] for step in steps],
        "levels": [level - step for step in steps],
        "value": 3 * level + 1e4,
        "count": draw.randrange(5),
        "kind": word,
        "answer": "yes" if level > 0 else "no",
        "red": place % 2 == 0,
    }


def read_upload(folder: Path, name: str, content: bytes, rows: list[Cells]) -> Data:
    folder.mkdir()
    (folder / "original").write_bytes(content)
    found = inspect(folder, name, None)
    dataset = Dataset(rows=found["rows"], columns=found["columns"])
    columns = tuple(Column.model_validate(each, strict=False) for each in found["columns"])
    return Data(rows, dataset, Table(folder / "table.parquet", columns, "0" * 64))


def upload_lines(folder: Path, rows: list[Cells]) -> Data:
    return read_upload(folder, "rows.jsonl", write_lines(rows), rows)


def upload_pictures(folder: Path, rows: list[Cells], draw: Draw) -> Data:
    pictures = [write_picture(draw) for _ in rows]
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        named = [{**row, "image": f"{place}.png"} for place, row in enumerate(rows)]
        archive.writestr("rows.jsonl", write_lines(named))
        for place, picture in enumerate(pictures):
            archive.writestr(f"{place}.png", picture)
    shown = [{**row, "image": each} for row, each in zip(rows, pictures, strict=True)]
    return read_upload(folder, "rows.zip", content.getvalue(), shown)


def write_lines(rows: list[Cells]) -> bytes:
    return "\n".join(map(json.dumps, rows)).encode()


def write_picture(draw: Draw) -> bytes:
    size, file = draw.choice(((6, 5), (9, 8))), io.BytesIO()
    Image.frombytes("RGB", size, draw.randbytes(3 * size[0] * size[1])).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Data, Data]]:
    """By what holds them, training rows and test rows."""
    folder, draw = tmp_path_factory.mktemp("uploads"), Draw(0)
    parts = [[make_row(draw, place) for place in range(count)] for count in (ROWS, TESTED)]
    lines = [upload_lines(folder / f"lines{n}", rows) for n, rows in enumerate(parts)]
    zips = [upload_pictures(folder / f"zip{n}", rows, draw) for n, rows in enumerate(parts)]
    return {"lines": (lines[0], lines[1]), "zip": (zips[0], zips[1])}


# ---------------------------------------------------------------- the contract


@pytest.mark.parametrize("case", CASES, ids="-".join)
def test_what_is_accepted_trains_resumes_and_predicts(
    uploads: dict[str, tuple[Data, Data]], tmp_path: Path, case: tuple[str, str, str]
) -> None:
    draw = Draw("-".join(case))
    data, tested = uploads["zip" if "image" in case else "lines"]
    spec = resolve(draw_spec(draw, *case), data.dataset, tested.dataset).spec
    (tmp_path / "a1").mkdir()
    job = f"job_{'0' * 32}"
    request = Request(job, spec, data.table, tested.table, tmp_path / "a1", (), 1)
    whole = Recorder()
    evaluation = run(request, whole).evaluation
    assert evaluation is not None
    assert resume(request, draw.randrange(1, whole.reads)) == (
        evaluation,
        read_weights(request, whole),
    )
    predictor = load_predictor(request, evaluation["checkpoint_step"], whole)
    assert score(predictor, spec, tested.rows) == pytest.approx(measured(evaluation), rel=1e-5)


def resume(request: Request, cut: int) -> tuple[Any, bytes]:
    """Stopped when it looks up for the `cut`-th time, and gone on with: evaluation and weights."""
    first, last = stop_at(cut), Recorder()
    attempt = next_attempt(request)
    run(attempt, first)
    newest = sorted(first.checkpoints, key=lambda saved: -saved.step)
    attempt = next_attempt(attempt, *(request.folder.parent / saved.name for saved in newest))
    evaluation = run(attempt, last).evaluation
    return evaluation, read_weights(request, first, last)


def read_weights(request: Request, *recorders: Recorder) -> bytes:
    """Of the last step."""
    saved = max((each for r in recorders for each in r.checkpoints), key=lambda each: each.step)
    return (request.folder.parent / saved.name / "model.safetensors").read_bytes()


def load_predictor(request: Request, step: int, recorder: Recorder) -> Callable[..., list[Any]]:
    (saved,) = [each for each in recorder.checkpoints if each.step == step]
    folder = unpack(request, saved.name, request.folder.parent / "unpacked")
    predict: Callable[..., list[Any]] = runpy.run_path(str(folder / "predict.py"))["load"](
        folder
    ).predict
    return predict


def score(predict: Callable[..., list[Any]], spec: JobSpec, rows: list[Cells]) -> float:
    """The error of numbers, or the share of classes that are right."""
    targets = spec.dataset.targets
    answers = predict([{name: row[name] for name in row if name not in targets} for row in rows])
    pairs = [
        (answer[name] if len(targets) > 1 else answer, row[name])
        for answer, row in zip(answers, rows, strict=True)
        for name in targets
    ]
    return sum(compare(*pair) for pair in pairs) / len(pairs)


def compare(answer: Any, truth: Any) -> float:
    if isinstance(answer, float):
        return abs(answer - truth)
    return answer == (str(truth).lower() if isinstance(truth, bool) else truth)


def measured(evaluation: Cells) -> float:
    test: dict[str, float] = evaluation["test"]
    return test["mae"] if "mae" in test else test["accuracy"]
