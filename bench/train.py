"""Our engine against two hand-written loops, interleaved in one process.

    python bench/train.py [--rounds 9] [--threads 1] [--clock wall] [--workloads mlp cnn]

`ours` is what a job does: validation on a tenth of the rows every epoch, metric points and
a checkpoint of the full state; the time is that of Trainer.train, so it includes all of these.
`idiomatic` is the DataLoader loop of every tutorial, `tuned` the best of a loop that gathers by
index, reads nothing back, and uses the default or the fused optimizer; on images, with the weights
in the order `channels_last`, which is faster. Both train on all rows and
neither validates nor saves. Speeds are samples trained per second; ratios are medians over rounds.
`--clock cpu` counts the processor time of all threads instead: on a machine that others use too it
is the steadier one.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

sys.path.insert(0, str(Path(__file__).parents[1]))

from app.specs import JobSpec
from app.specs.columns import Column
from worker import registry
from worker.data.columns import NumberInput
from worker.data.features import Features
from worker.data.image import ImageInput
from worker.data.prepare import Part, Prepared
from worker.data.targets import ClassTarget, ValueTarget
from worker.engine.build import build_loss, build_trainer
from worker.engine.device import make_deterministic, seed_everything
from worker.engine.reporter import Point, SavedCheckpoint
from worker.engine.request import Request, Table
from worker.engine.warnings import Warnings

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
clock = CLOCKS["wall"]


@dataclass(frozen=True)
class Workload:
    inputs: Tensor  # (N, F), or images (N, C, H, W)
    targets: Tensor  # (N,)
    family: dict[str, Any]
    optimizer: dict[str, Any]
    loss: str
    metric: str
    epochs: int
    batch_size: int
    build: Callable[[], nn.Module]
    compute: Callable[[Tensor, Tensor], Tensor]
    torch_optimizer: Callable[..., torch.optim.Optimizer]

    @property
    def shaped(self) -> Tensor:
        return self.targets if self.loss == "cross_entropy" else self.targets.float()[:, None]


def make_linear(classify: bool) -> Workload:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(100_000, 100, generator=generator)
    scores = inputs @ torch.randn(100, generator=generator)
    noise = torch.randn(100_000, generator=generator)
    lr = 0.1 if classify else 0.01
    return Workload(
        inputs,
        (scores > 0).long() if classify else scores / 10 + noise / 100,
        {"type": "logistic" if classify else "linear"},
        {"type": "sgd", "lr": lr},
        "binary_cross_entropy" if classify else "mse",
        "accuracy" if classify else "r2",
        epochs=5,
        batch_size=256,
        build=lambda: nn.Linear(100, 1),
        compute=F.binary_cross_entropy_with_logits if classify else F.mse_loss,
        torch_optimizer=lambda params, **options: torch.optim.SGD(params, lr=lr, **options),
    )


def make_mlp() -> Workload:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(20_000, 784, generator=generator)
    return Workload(
        inputs,
        (inputs @ torch.randn(784, 10, generator=generator)).argmax(1),
        {"type": "mlp", "hidden": [512, 256], "task": "classification"},
        {"type": "adam", "lr": 0.001},
        "cross_entropy",
        "accuracy",
        epochs=2,
        batch_size=128,
        build=lambda: nn.Sequential(
            nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10)
        ),
        compute=F.cross_entropy,
        torch_optimizer=lambda params, **options: torch.optim.Adam(params, lr=0.001, **options),
    )


class Scale(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.float() / 255


def make_cnn() -> Workload:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randint(0, 256, (6_000, 1, 28, 28), generator=generator, dtype=torch.uint8)

    def block(made: int, given: int) -> list[nn.Module]:
        convolution = nn.Conv2d(given, made, 3, padding="same")
        return [convolution, nn.BatchNorm2d(made), nn.ReLU(), nn.MaxPool2d(2)]

    def build() -> nn.Module:
        head = [nn.Flatten(), nn.Linear(64 * 7 * 7, 128), nn.ReLU(), nn.Linear(128, 10)]
        return nn.Sequential(Scale(), *block(32, 1), *block(64, 32), *head)

    blocks = {"channels": [32, 64], "norm": "batch", "pool": "max", "hidden": [128]}
    image = {"over": "image", "gather": "flatten", "task": "classification"}
    return Workload(
        inputs,
        torch.randint(0, 10, (6_000,), generator=generator),
        {"type": "cnn", **blocks, **image},
        {"type": "adam", "lr": 0.001},
        "cross_entropy",
        "accuracy",
        epochs=1,
        batch_size=64,
        build=build,
        compute=F.cross_entropy,
        torch_optimizer=lambda params, **options: torch.optim.Adam(params, lr=0.001, **options),
    )


WORKLOADS: dict[str, Callable[[], Workload]] = {
    "linreg": lambda: make_linear(classify=False),
    "logreg": lambda: make_linear(classify=True),
    "mlp": make_mlp,
    "cnn": make_cnn,
}


# ---------------------------------------------------------------- the loops


def run_idiomatic(work: Workload) -> float:
    model = work.build()
    optimizer = work.torch_optimizer(model.parameters())
    loader = DataLoader(TensorDataset(work.inputs, work.shaped), work.batch_size, shuffle=True)
    start = clock()
    for _ in range(work.epochs):
        total = 0.0
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = work.compute(model(inputs), targets)
            loss.backward()
            optimizer.step()
            total += loss.item()
    return work.epochs * len(work.inputs) / (clock() - start)


def run_tuned(work: Workload, **options: bool) -> float:
    model, targets = work.build(), work.shaped
    if work.inputs.dim() == 4:
        model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = work.torch_optimizer(model.parameters(), **options)
    total = torch.zeros(())
    start = clock()
    for _ in range(work.epochs):
        for rows in torch.randperm(len(work.inputs)).split(work.batch_size):
            batch = work.inputs.index_select(0, rows)
            loss = work.compute(model(batch), targets.index_select(0, rows))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            total += loss.detach()
    total.item()
    return work.epochs * len(work.inputs) / (clock() - start)


class Quiet:
    """A reporter that counts what it is told."""

    stop = None

    def __init__(self) -> None:
        self.points = self.checkpoints = 0

    def phase(self, name: str) -> None: ...

    def progress(self, step: int, total_steps: int, epoch: float, eta: float | None) -> None: ...

    def metrics(self, points: list[Point]) -> None:
        self.points += len(points)

    def checkpoint(self, saved: SavedCheckpoint) -> None:  # noqa: ARG002
        self.checkpoints += 1

    def event(self, kind: str, data: dict[str, Any]) -> None: ...


def run_ours(work: Workload) -> float:
    with tempfile.TemporaryDirectory() as folder:
        request = make_request(work, Path(folder))
        data, reporter = divide(work), Quiet()
        loss = build_loss(request, data)
        seed_everything(0)
        outputs = loss.outputs(len(data.classes))
        model = registry.build_model(request.spec.model, data.features.shape, outputs)
        trainer = build_trainer(request, data, model, loss, Warnings(reporter))
        start = clock()
        trainer.train()
        trainer.save()
        seconds = clock() - start
        trainer.drain()
        assert reporter.points > 100
        assert reporter.checkpoints > 0
    return work.epochs * len(data.train) / seconds


def make_request(work: Workload, folder: Path) -> Request:
    body = {
        "name": "bench",
        "model": work.family,
        "dataset": {"id": "ds_" + "0" * 32, "target": "y"},
        "training": {
            "epochs": work.epochs,
            "batch_size": work.batch_size,
            "optimizer": work.optimizer,
            "loss": {"type": work.loss},
        },
        "evaluation": {"metrics": [work.metric]},
    }
    table = Table(folder, (Column(name="y", kind="number"),), "")
    spec = JobSpec.model_validate(body)
    return Request("job_bench", spec, table, None, folder, (), torch.get_num_threads())


def divide(work: Workload) -> Prepared:
    """What prepare() would make of these numbers, which are standardised already."""
    held_out = len(work.inputs) // 10
    inputs: list[Any] = [NumberInput(f"x{i}", 0, 0, 1) for i in range(work.inputs.shape[1])]
    if work.inputs.dim() == 4:
        inputs = [ImageInput("x", *work.inputs.shape[1:])]
    classes = tuple(str(number) for number in range(int(work.targets.max()) + 1))
    target = ValueTarget("y", 0.0, 1.0) if work.loss == "mse" else ClassTarget("y", classes)
    return Prepared(
        Features(inputs, target),
        Part(work.inputs[held_out:], work.targets[held_out:]),
        Part(work.inputs[:held_out], work.targets[:held_out]),
        Part(work.inputs[:0], work.targets[:0]),
    )


LOOPS: dict[str, Callable[[Workload], float]] = {
    "idiomatic": lambda work: run_idiomatic(replace(work, epochs=1)),  # slow, and steady
    "tuned_default": run_tuned,
    "tuned_fused": lambda work: run_tuned(work, fused=True),
    "ours": run_ours,
}


# ---------------------------------------------------------------- measuring


def measure(work: Workload, rounds: int) -> dict[str, list[float]]:
    """Samples per second of each loop in each round; a first round warms up and is dropped."""
    speeds: dict[str, list[float]] = {name: [] for name in LOOPS}
    for number in range(rounds + 1):
        # Rotating the order keeps one loop from always running after the same neighbour.
        names = list(LOOPS)[number % len(LOOPS) :] + list(LOOPS)[: number % len(LOOPS)]
        for name in names:
            speed = LOOPS[name](work)
            if number:
                speeds[name].append(speed)
    return speeds


def describe(name: str, speeds: dict[str, list[float]]) -> str:
    """Paired within a round; against the tuned loop with whichever optimizer is harder to beat."""

    def ratio(other: str) -> float:
        pairs = zip(speeds["ours"], speeds[other], strict=True)
        return statistics.median(ours / theirs for ours, theirs in pairs)

    tuned = min(ratio("tuned_default"), ratio("tuned_fused"))
    peak = max(speeds["ours"]) / max(*speeds["tuned_default"], *speeds["tuned_fused"])
    cells = [f"{statistics.median(values):,.0f}" for values in speeds.values()]
    cells += [f"{each:.2f}" for each in (ratio("idiomatic"), tuned, peak)]
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    arguments = parser.parse_args()
    global clock
    clock = CLOCKS[arguments.clock]
    make_deterministic(arguments.threads)
    print(
        f"torch {torch.__version__}, {arguments.threads} of {os.cpu_count()} threads, "
        f"{arguments.rounds} rounds, samples per second by the {arguments.clock} clock (medians)\n"
    )
    print(
        "| workload | idiomatic | tuned, default optimizer | tuned, fused | ours | "
        "ours / idiomatic | ours / tuned | fastest ours / fastest tuned |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name in arguments.workloads:
        print(describe(name, measure(WORKLOADS[name](), arguments.rounds)), flush=True)


if __name__ == "__main__":
    main()
