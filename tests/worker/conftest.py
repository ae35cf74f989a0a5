"""What the engine needs from outside, made small: a table, a request, a reporter that remembers."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
import torch

from app.specs import JobSpec
from app.specs.columns import Column
from app.specs.data import ColumnKind
from worker.engine.reporter import Point, SavedCheckpoint, Stop
from worker.engine.request import Request, Table

Rows = dict[str, list[Any]]


@dataclass
class Recorder:
    """A reporter that keeps everything and asks to stop when `stop_when` says so."""

    stop_when: Callable[["Recorder"], Stop | None] = lambda _: None
    calls: list[tuple[str, Any]] = field(default_factory=list)
    reads: int = 0  # of `stop`: one per step

    @property
    def stop(self) -> Stop | None:
        self.reads += 1
        return self.stop_when(self)

    def refuse(self, reason: str) -> None:
        self.calls.append(("refused", reason))

    def phase(self, name: str) -> None:
        self.calls.append(("phase", name))

    def progress(self, step: int, total_steps: int, epoch: float, eta: float | None) -> None:
        self.calls.append(("progress", (step, total_steps, epoch, eta)))

    def metrics(self, points: list[Point]) -> None:
        self.calls.append(("metrics", points))

    def checkpoint(self, saved: SavedCheckpoint) -> None:
        self.calls.append(("checkpoint", saved))

    def event(self, kind: str, data: dict[str, Any]) -> None:
        self.calls.append((kind, data))

    def of(self, kind: str) -> list[Any]:
        return [value for name, value in self.calls if name == kind]

    @property
    def points(self) -> list[Point]:
        """All points but the speed, which is never the same twice."""
        every = [point for points in self.of("metrics") for point in points]
        return [point for point in every if point[0] != "train/samples_per_second"]

    @property
    def checkpoints(self) -> list[SavedCheckpoint]:
        return self.of("checkpoint")

    @property
    def warnings(self) -> str:
        return "\n".join(data["message"] for data in self.of("warning"))


def stop_at(step: int, stop: Stop = Stop.PAUSE) -> Recorder:
    """Asks to stop once `step` steps were made."""
    return Recorder(lambda recorder: stop if recorder.reads > step else None)


def find_kind(cells: list[Any]) -> ColumnKind:
    if all(cell is None or isinstance(cell, (int, float)) for cell in cells):
        return "number"
    if any(isinstance(cell, torch.Tensor) for cell in cells):
        return "image"
    return "sequence" if any(isinstance(cell, list) for cell in cells) else "category"


def write_table(path: Path, rows: Rows) -> Table:
    """Numbers become DOUBLE, tensors (C, H, W) pictures, lists DOUBLE[][], all else VARCHAR, as at
    upload."""
    columns = []
    with duckdb.connect() as connection:
        kinds = {}
        for name, cells in rows.items():
            kinds[name] = find_kind(cells)
            columns.append(Column(name=name, kind=kinds[name]))
            if kinds[name] == "image":
                rows = rows | {name: write_pixels(path.with_name("pixels.bin"), cells)}
        types = {
            "number": "DOUBLE",
            "category": "VARCHAR",
            "image": PICTURE,
            "sequence": "DOUBLE[][]",
        }
        layout = ", ".join(f'"{name}" {types[kind]}' for name, kind in kinds.items())
        connection.execute(f"CREATE TABLE t ({layout})")
        marks = ", ".join("?" for _ in rows)
        cells = list(zip(*rows.values(), strict=True))
        connection.executemany(f"INSERT INTO t VALUES ({marks})", cells)
        connection.execute(f"COPY t TO '{path}' (FORMAT parquet)")
    return Table(path, tuple(columns), "0" * 64)


PICTURE = 'STRUCT(name VARCHAR, "start" BIGINT, channels INTEGER, height INTEGER, width INTEGER)'


def write_pixels(path: Path, pictures: list[torch.Tensor | None]) -> list[dict[str, Any] | None]:
    """Append them to the file; the cells that say where they are."""
    cells: list[dict[str, Any] | None] = []
    with path.open("ab") as file:
        for picture in pictures:
            if picture is None:
                cells.append(None)
                continue
            place = {"name": f"{len(cells)}.png", "start": file.tell()}
            cells.append(
                place | dict(zip(("channels", "height", "width"), picture.shape, strict=True))
            )
            file.write(bytes(picture.flatten().tolist()))
    return cells


def make_rows(rows: int = 60, classify: bool = True, seed: int = 0) -> Rows:
    """Three numbers and a category that say most of the target."""
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randn(rows, 3, generator=generator, dtype=torch.float64) * 5 + 20
    kinds = torch.randint(0, 3, (rows,), generator=generator)
    score = numbers[:, 0] - 2 * numbers[:, 1] + kinds * 3
    target: list[Any] = score.tolist()
    if classify:
        limits = score.quantile(torch.tensor([1 / 3, 2 / 3], dtype=torch.float64))
        target = [f"c{int(level)}" for level in torch.bucketize(score, limits)]
    return {
        "a": numbers[:, 0].tolist(),
        "b": numbers[:, 1].tolist(),
        "c": numbers[:, 2].tolist(),
        "kind": ["xyz"[kind] for kind in kinds],
        "y": target,
    }


def make_text_rows(rows: int = 60, seed: int = 0) -> Rows:
    """Sentences of 1 to 8 words, of which one says the class; and a number that says nothing."""
    generator = random.Random(seed)
    filler = ["the", "of", "Some", "more", "it,", "is", "so"]
    texts, labels = [], []
    for number in range(rows):
        words = generator.choices(filler, k=generator.randrange(8))
        words.insert(generator.randrange(len(words) + 1), ("good", "bad", "ugly")[number % 3])
        texts.append(" ".join(words))
        labels.append(f"c{number % 3}")
    return {"text": texts, "a": [float(number % 7) for number in range(rows)], "y": labels}


def make_image_rows(
    rows: int = 60, seed: int = 0, size: tuple[int, ...] = (1, 9, 8), gap: int = 0
) -> Rows:
    """Noise with a bright bar in the upper, middle or lower third, which is the class. `gap`: every
    so many pictures, one is larger."""
    generator = torch.Generator().manual_seed(seed)
    pictures, labels = [], []
    for number in range(rows):
        channels, height, width = size
        if gap and number % gap == 0:
            height, width = 2 * height, 2 * width
        noise = torch.randint(0, 80, (channels, height, width), generator=generator)
        third = height // 3
        noise[:, number % 3 * third : (number % 3 + 1) * third] += 150
        pictures.append(noise.to(torch.uint8))
        labels.append(f"c{number % 3}")
    return {"image": pictures, "a": [float(number % 7) for number in range(rows)], "y": labels}


def make_sequence_rows(rows: int = 60, classify: bool = True, seed: int = 0) -> Rows:
    """One to nine steps of two numbers on very different scales; the first rises, falls or stays,
    and says the class; how much, and the last of the second, say the number."""
    generator = torch.Generator().manual_seed(seed)
    steps, targets = [], []
    for number in range(rows):
        length = 1 + number % 9
        noise = torch.randn(length, 2, generator=generator, dtype=torch.float64)
        slope = (1.0, -1.0, 0.0)[number % 3]
        level = slope * (2 + torch.arange(length))
        row = torch.stack([1e6 + 1e5 * (level + 0.1 * noise[:, 0]), 1e-3 * noise[:, 1]], 1)
        steps.append(row.tolist())
        value = 3 * slope + 1000 * row[-1, 1].item()
        targets.append(f"c{number % 3}" if classify else value)
    return {"steps": steps, "a": [float(number % 7) for number in range(rows)], "y": targets}


READERS: dict[str, dict[str, Any]] = {  # families that read one column in order, small
    "cnn": {"channels": [8], "embedding": 8, "gather": "max", "norm": "batch", "dropout": 0.1},
    "rnn": {"hidden": 8, "embedding": 8, "layers": 2, "dropout": 0.1},
}


def make_spec(**parts: Any) -> JobSpec:
    """`parts` are merged into a small spec, one level deep."""
    body: dict[str, Any] = {
        "name": "test",
        "model": {"type": "logistic"},
        "dataset": {"id": "ds_" + "0" * 32, "target": "y", "split": {"test": 0.2}},
        "training": {"epochs": 3, "batch_size": 8, "loss": {"type": "cross_entropy"}},
        "evaluation": {"metrics": ["accuracy"]},
    }
    for name, part in parts.items():
        body[name] = {**body.get(name, {}), **part} if isinstance(part, dict) else part
    if body["model"]["type"] == "mlp":
        body["model"] = {"task": "classification", "hidden": [8], **body["model"]}
    if body["model"].get("over") == "image" or body["dataset"].get("image"):
        small = {"over": "image", "gather": "flatten", **READERS["cnn"], "pool": "max"}
        if body["model"]["type"] == "cnn":
            body["model"] = {"task": "classification"} | small | body["model"]
        size = {"height": 9, "width": 8, "channels": 1}
        body["dataset"] = {"inputs": ["image"], "image": size} | body["dataset"]
    elif (family := body["model"]["type"]) in READERS:
        small = {"task": "classification", "over": "tokens", **READERS[family]}
        body["model"] = small | body["model"]
    if body["model"].get("over") == "tokens":
        text = {"type": "tokens", "columns": ["text"]}
        body["dataset"] = {"inputs": ["text"], "text": text} | body["dataset"]
    return JobSpec.model_validate(body)


REGRESSION: dict[str, Any] = {
    "model": {"type": "linear"},
    "training": {"loss": {"type": "mse"}},
    "evaluation": {"metrics": ["r2"]},
}


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., Request]:
    """Makes a request in a folder of its own."""
    count = 0

    def make(
        spec: JobSpec | None = None, rows: Rows | None = None, test: Rows | None = None
    ) -> Request:
        nonlocal count
        count += 1
        job = tmp_path / f"job{count}"
        (job / "a1").mkdir(parents=True)
        table = write_table(job / "table.parquet", rows or make_rows())
        (job / "test").mkdir()
        test_table = write_table(job / "test" / "table.parquet", test) if test else None
        spec = spec or make_spec()
        return Request("job_" + "0" * 32, spec, table, test_table, job / "a1", (), 1)

    return make


def next_attempt(request: Request, *resume: Path) -> Request:
    """The same job again, going on from the checkpoints in `resume`."""
    number = int(request.folder.name[1:]) + 1
    folder = request.folder.with_name(f"a{number}")
    folder.mkdir()
    return replace(request, folder=folder, resume=resume)
