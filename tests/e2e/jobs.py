"""Data and specs for the end-to-end tests."""

import csv
from pathlib import Path
from typing import Any

from sklearn.datasets import load_breast_cancer, load_digits

Row = list[Any]


def write_csv(path: Path, header: list[str], rows: list[Row]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def read_breast_cancer() -> tuple[list[str], list[Row]]:
    data = load_breast_cancer()
    header = [name.replace(" ", "_") for name in data.feature_names] + ["diagnosis"]
    names = data.target_names
    return header, [[*x, names[y]] for x, y in zip(data.data.tolist(), data.target, strict=True)]


def read_digits() -> tuple[list[str], list[Row]]:
    data = load_digits()
    header = [*data.feature_names, "digit"]
    return header, [[*x, y] for x, y in zip(data.data.tolist(), data.target.tolist(), strict=True)]


def make_spec(dataset_id: str, target: str, **changes: Any) -> dict[str, Any]:
    """An mlp that trains for a few seconds: long enough to be disturbed."""
    spec: dict[str, Any] = {
        "name": "test",
        "model": {"type": "mlp", "hidden": [64], "dropout": 0.1},
        "dataset": {"id": dataset_id, "target": target},
        "training": {"epochs": 60, "batch_size": 16, "log_every": 10},
        "checkpoints": {"every_seconds": 0.5},
    }
    for key, value in changes.items():
        spec[key] = spec[key] | value if isinstance(spec.get(key), dict) else value
    return spec
