"""When a second thread pays: time of a training step of small networks with 1 and with all threads.

python bench/threads.py
"""

import os
import time
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

STEPS, ROUNDS = 300, 3
SHAPES = [
    (16, [64, 64, 10]),
    (64, [100, 10]),
    (256, [100, 10]),
    (64, [64, 256, 10]),
    (128, [128, 256, 128, 10]),
    (32, [784, 512, 256, 10]),
    (128, [784, 256, 10]),
    (256, [256, 256, 256, 10]),
    (128, [784, 512, 256, 10]),
]


def time_step(threads: int, rows: int, widths: list[int]) -> float:
    """Microseconds per step, the best of some rounds."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    layers = [layer for i, o in pairwise(widths) for layer in (nn.Linear(i, o), nn.ReLU())]
    model = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    inputs, targets = torch.randn(rows, widths[0]), torch.randint(widths[-1], (rows,))
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(STEPS):
            functional.cross_entropy(model(inputs), targets).backward()
            optimizer.step()
            optimizer.zero_grad()
        times.append((time.perf_counter() - started) / STEPS * 1e6)
    return min(times)


def main() -> None:
    threads = len(os.sched_getaffinity(0))
    print(f"| rows | widths | million operations | 1 thread, us | {threads} threads, us | ratio |")
    print("|---|---|---|---|---|---|")
    for rows, widths in SHAPES:
        operations = 6 * rows * sum((i + 1) * o for i, o in pairwise(widths)) / 1e6
        one, all_of_them = time_step(1, rows, widths), time_step(threads, rows, widths)
        shape = "-".join(map(str, widths))
        print(
            f"| {rows} | {shape} | {operations:.1f} | {one:.0f} | {all_of_them:.0f} "
            f"| {all_of_them / one:.2f} |"
        )


if __name__ == "__main__":
    main()
