"""What the learning-rate finder's rule is worth: jobs with the rate it chose, with the one that the
steepest descent would have chosen, and with the best of a grid.

python -m bench.lr_finder
"""

import math
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import duckdb
from sklearn import datasets

from app.specs import JobSpec
from app.specs.columns import Column
from app.specs.lr_finder import LRFinderSpec
from worker.engine.lr_finder import measure_width, smooth
from worker.engine.request import Request, Table
from worker.engine.run import run

GRID = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
DATA = {
    "digits": (datasets.load_digits, "classification"),
    "breast cancer": (datasets.load_breast_cancer, "classification"),
    "diabetes": (datasets.load_diabetes, "regression"),
}
OPTIMIZERS = ("sgd", "adam", "rmsprop", "lion", "muon")
FLOOR = 0.05  # losses below this are as good as each other


@dataclass
class Silent:
    """A reporter that hears nothing."""

    stop: None = None

    def refuse(self, reason: str) -> None: ...
    def phase(self, name: str) -> None: ...
    def progress(self, *_: Any) -> None: ...
    def metrics(self, points: Any) -> None: ...
    def checkpoint(self, saved: Any) -> None: ...
    def event(self, kind: str, data: Any) -> None: ...


def write_table(name: str, folder: Path) -> Table:
    load, task = DATA[name]
    inputs, target = load(return_X_y=True)
    frame = {f"x{place}": column for place, column in enumerate(inputs.T)}
    frame["target"] = target  # DuckDB reads `frame` by its name
    path = folder / f"{name.replace(' ', '_')}.parquet"
    label = "CAST(target AS VARCHAR)" if task == "classification" else "CAST(target AS DOUBLE)"
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT * EXCLUDE target, {label} AS target FROM frame) TO '{path}'"
        )
        names = [row[0] for row in connection.execute(f"DESCRIBE FROM '{path}'").fetchall()]
    kind = "category" if task == "classification" else "number"
    columns = [Column(name=each, kind="number") for each in names[:-1]]
    return Table(path, (*columns, Column(name="target", kind=kind)), "0" * 64)


def train(table: Table, task: str, family: str, training: dict[str, Any]) -> dict[str, Any]:
    model = {"type": "linear" if task == "regression" else "logistic"}
    if family == "mlp":
        model = {"type": "mlp", "task": task}
    loss = "mse" if task == "regression" else "cross_entropy"
    spec = JobSpec.model_validate(
        {
            "name": "finder",
            "model": model,
            "dataset": {"id": "ds_" + "0" * 32, "target": "target", "split": {"test": 0.2}},
            "training": {
                "epochs": 10,
                "loss": {"type": loss},
                "schedule": {"type": "cosine"},
                **training,
            },
            "evaluation": {"metrics": ["mae" if task == "regression" else "accuracy"]},
            "checkpoints": {"keep_best": 0},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "a1").mkdir()
        request = Request("job_" + "0" * 32, spec, table, None, Path(folder) / "a1", (), 1)
        try:
            return run(request, Silent()).evaluation or {}
        except Exception as error:
            if type(error).__name__ != "NonFiniteLoss":
                raise
            return {"test": {"loss": math.inf}}


def choose_steepest(points: list[list[float]], spec: LRFinderSpec) -> float:
    """Where the smoothed loss falls fastest per factor of the rate, up to its minimum."""
    width = measure_width(spec)
    smoothed = smooth([loss for _, loss in points], width)
    end = max(1, min(range(len(smoothed)), key=lambda place: smoothed[place]))
    last = len(smoothed) - 1

    def slope(place: int) -> float:
        first, then = max(0, place - width), min(last, place + width)
        return (smoothed[then] - smoothed[first]) / (then - first)

    return points[min(range(end), key=slope)][0]


def main() -> None:
    regret: dict[str, list[float]] = defaultdict(list)
    finder = LRFinderSpec()
    print("| data | family | optimizer | best of grid | a tenth of the lowest | steepest |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, family, optimizer in product(DATA, ("linear", "mlp"), OPTIMIZERS):
            table, task = write_table(name, Path(folder)), DATA[name][1]

            def measure(
                lr: float,
                table: Table = table,
                task: str = task,
                family: str = family,
                optimizer: str = optimizer,
            ) -> float:
                training = {"optimizer": {"type": optimizer, "lr": lr}}
                loss: float = train(table, task, family, training)["test"]["loss"]
                return loss

            losses = {lr: measure(lr) for lr in GRID}
            best = min(losses, key=lambda lr: losses[lr])
            training = {"optimizer": {"type": optimizer}, "lr_finder": finder.model_dump()}
            found = train(table, task, family, training)
            steepest = choose_steepest(found["lr_finder"]["points"], finder)
            chosen = {
                "tenth": (found["lr_finder"]["chosen"], found["test"]["loss"]),
                "steepest": (steepest, measure(steepest)),
            }
            cells = [f"{loss:.3f} at {lr:.2g}" for lr, loss in chosen.values()]
            print(
                f"| {name} | {family} | {optimizer} | {losses[best]:.3f} at {best:g} | "
                f"{' | '.join(cells)} |"
            )
            for rule, (_, loss) in chosen.items():
                regret[rule].append(math.log(max(loss, FLOOR) / max(losses[best], FLOOR)))
    for rule, values in regret.items():
        mean, worst = math.exp(sum(values) / len(values)), math.exp(max(values))
        print(f"\n{rule}: {mean:.2f} times the best loss of the grid, at worst {worst:.2f}")


if __name__ == "__main__":
    main()
