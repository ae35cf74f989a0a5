"""Trains the families on public data through the API, beside the figures they have to reach.

    python -m bench.families --data FOLDER [--url URL] [--key KEY] [--only NAME ...]

FOLDER holds, of `trec`, `ts_japanese_vowels` and `ts_gunpoint`, `{train,test}.jsonl`, of `sst2` and
`names_nationality` `{train,test}.csv`, `mnist` as it is published, and the tables of
`ts_forecast_small`. Prints a Markdown table; exits with 1 if a figure is missed.
"""

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar
from zipfile import ZipFile

from client import Trainsmith
from client.answers import Job


@dataclass(frozen=True)
class Figure:
    name: str
    files: str  # with {} for the part; several are packed into one archive
    column: str
    model: dict[str, Any]
    features: dict[str, Any] | None  # of text
    needed: float
    source: str
    training: dict[str, Any]
    split: dict[str, Any] = field(default_factory=lambda: {"validation": 0.1})
    parts: tuple[str, ...] = ("train", "test")

    metric: ClassVar[str] = "accuracy"

    def is_reached(self, score: float) -> bool:
        return score >= self.needed

    def make_spec(self, train: str, test: str) -> dict[str, Any]:
        return {
            "name": self.name,
            "model": self.model,
            "dataset": {
                "id": train,
                "test_id": test,
                "inputs": [self.column],
                "target": "label",
                "text": self.features and {"columns": [self.column], **self.features},
                "split": self.split,
            },
            "training": {"schedule": {"type": "cosine"}, **self.training},
            "evaluation": {"metrics": ["accuracy"]},
            "checkpoints": {"monitor": "validation/accuracy"},
            "labels": {"bench": "families"},
        }


@dataclass(frozen=True)
class Forecast:
    """The last rows of a table are tested on."""

    name: str
    files: str
    column: str
    split: dict[str, Any]
    forecast: dict[str, Any]
    model: dict[str, Any]
    needed: float
    training: dict[str, Any]
    source: str = "persistence, same rows"

    metric: ClassVar[str] = "rmse"
    parts: ClassVar[tuple[str, ...]] = ("",)

    def is_reached(self, score: float) -> bool:
        return score < self.needed

    def make_spec(self, table: str) -> dict[str, Any]:
        return {
            "name": self.name,
            "model": self.model,
            "dataset": {
                "id": table,
                "target": self.column,
                "forecast": self.forecast,
                "split": self.split,
            },
            "training": {"schedule": {"type": "cosine"}, **self.training},
            "evaluation": {"metrics": ["rmse"]},
            "checkpoints": {"monitor": "validation/rmse"},
            "labels": {"bench": "families"},
        }


def adam(lr: float, epochs: int, batch_size: int = 32, **more: Any) -> dict[str, Any]:
    optimizer = {"type": "adam", "lr": lr}
    return {"optimizer": optimizer, "epochs": epochs, "batch_size": batch_size, **more}


LOGISTIC = {"type": "logistic"}
TF_IDF = {"type": "tf_idf", "ngram_max": 2, "sublinear": True}
LETTERS = {"ngram_min": 2, "ngram_max": 5, "min_df": 2, "max_features": 100_000}
PIECES = {**TF_IDF, "analyzer": "token", "lowercase": False, "characters": LETTERS}
ALL = {"validation": 0.0}  # a tenth of few rows is dear: train on all, keep the last weights
TREC, SST2 = "trec/{}.jsonl", "sst2/{}.csv"
NAMES = "names_nationality/{}.csv"
MNIST = "mnist/{0}-images-idx3-ubyte.gz mnist/{0}-labels-idx1-ubyte.gz"
KIM = {"type": "cnn", "kernels": [3, 4, 5], "channels": [100], "embedding": 128, "dropout": 0.5}
GRU = {"type": "rnn", "cell": "gru", "hidden": 256, "embedding": 64, "bidirectional": True}
TOKENS = {"type": "tokens"}
VOWELS, GUNPOINT = "ts_japanese_vowels/{}.jsonl", "ts_gunpoint/{}.jsonl"
SMALL: dict[str, Any] = {"type": "rnn", "cell": "gru", "hidden": 32}
STEPS: dict[str, Any] = {"type": "cnn", "norm": "batch"}
DENSE: dict[str, Any] = {"type": "mlp", "hidden": [512, 512], "dropout": 0.2}
BLOCKS: dict[str, Any] = {"type": "cnn", "channels": [32, 64, 128], "pool": "max", "norm": "batch"}
BLOCKS |= {"hidden": [128], "dropout": 0.2}
OURS, PAPER = "TF-IDF and logistic regression of scikit-learn, same files", "Kim 2014, CNN-rand"
FIGURES: list[Figure | Forecast] = [
    Figure("trec tf_idf", TREC, "text", LOGISTIC, PIECES, 0.91, OURS, adam(0.02, 30, l2=3e-6)),
    Figure("trec cnn", TREC, "text", KIM, TOKENS, 0.882, PAPER, adam(0.001, 15)),
    Figure("sst2 tf_idf", SST2, "text", LOGISTIC, TF_IDF, 0.815, OURS, adam(0.02, 8, l2=0.0)),
    Figure(
        "names rnn",
        NAMES,
        "name",
        {**GRU, "dropout": 0.5, "pool": "max"},
        {**TOKENS, "tokenizer": "character"},
        0.783,
        "character TF-IDF and logistic regression, same files",
        {
            "optimizer": {"type": "adamw", "lr": 0.002, "weight_decay": 0.05},
            "epochs": 12,
            "batch_size": 64,
            "loss": {"type": "cross_entropy", "label_smoothing": 0.1},
            "ema_decay": 0.998,
            "augment": [{"type": "word_dropout", "probability": 0.05}],
        },
        ALL,
    ),
    Figure(
        "mnist mlp",
        MNIST,
        "image",
        DENSE,
        None,
        0.984,
        "Keras examples, mnist_mlp, 20 epochs",
        adam(0.001, 20, 128, augment=[{"type": "shift", "pixels": 1}]),
        parts=("train", "t10k"),
    ),
    Figure(
        "mnist cnn",
        MNIST,
        "image",
        BLOCKS,
        None,
        0.9925,
        "Keras examples, mnist_cnn, 12 epochs",
        adam(0.002, 8, 128, augment=[{"type": "shift", "pixels": 2}], ema_decay=0.999),
        parts=("train", "t10k"),
    ),
    Figure(
        "vowels cnn",
        VOWELS,
        "series",
        {**STEPS, "channels": [64, 64], "kernels": [5], "gather": "average", "dropout": 0.2},
        None,
        0.976,
        "MLP, hfawaz/dl-4-tsc",
        adam(0.002, 60, 16, augment=[{"type": "noise", "std": 0.2}, {"type": "mixup"}]),
        ALL,
    ),
    Figure(
        "gunpoint cnn",
        GUNPOINT,
        "series",
        {**STEPS, "channels": [32, 64, 64], "kernels": [7], "pool": "max"},
        None,
        0.927,
        "MLP, hfawaz/dl-4-tsc",
        adam(0.002, 100, 8),
        ALL,
    ),
    Forecast(
        "sunspots gru",
        "ts_forecast_small/monthly-sunspots.csv",
        "sunspots",
        {**ALL, "test": 0.2},  # 564 months
        {"window": 24, "difference": True},
        SMALL,
        20.09,
        adam(0.003, 15),
    ),
    Forecast(
        "temperatures gru",
        "ts_forecast_small/daily-min-temperatures.csv",
        "temp",
        {"test": 0.1},  # 365 days
        {"window": 30, "difference": True},
        SMALL,
        2.582,
        adam(0.003, 15),
    ),
]


def upload(client: Trainsmith, data: Path, files: str) -> str:
    paths = [data / file for file in files.split()]
    if len(paths) == 1:
        return str(client.datasets.upload(paths[0])["id"])
    with TemporaryDirectory() as folder:
        packed = Path(folder) / "data.zip"
        with ZipFile(packed, "w") as archive:
            for path in paths:
                archive.write(path, path.name)
        return str(client.datasets.upload(packed)["id"])


def run(client: Trainsmith, figure: Figure | Forecast, data: Path) -> tuple[Job, dict[str, Any]]:
    tables = [upload(client, data, figure.files.format(part)) for part in figure.parts]
    job = client.jobs.wait(client.jobs.create(figure.make_spec(*tables))["id"], timeout=3600)
    if job["status"] != "succeeded":
        sys.exit(f"{figure.name} {job['status']}: {job['error']}")
    return job, dict(client.jobs.evaluation(job["id"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--url", help="default: the server that runs here")
    parser.add_argument("--key", help="default: TRAINSMITH_API_KEY, else the data folder's")
    parser.add_argument("--only", nargs="+", default=[figure.name for figure in FIGURES])
    options = parser.parse_args()
    print("| data and family | metric | test | needed | source | baseline |")
    print("|---|---|---|---|---|---|")
    missed = False
    with Trainsmith(options.url, options.key) as client:
        for figure in FIGURES:
            if figure.name not in options.only:
                continue
            _, evaluation = run(client, figure, options.data)
            score, baseline = (evaluation[part][figure.metric] for part in ("test", "baseline"))
            missed |= not figure.is_reached(score)
            cells = f"{score:.4f} | {figure.needed:.4f} | {figure.source} | {baseline:.3f}"
            print(f"| {figure.name} | {figure.metric} | {cells} |", flush=True)
    sys.exit(missed)


if __name__ == "__main__":
    main()
