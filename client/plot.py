"""A curve in the terminal: braille dots are two wide and four high in each cell."""

import math
from collections.abc import Mapping, Sequence

from rich.text import Text

Points = Sequence[tuple[int, float]]
DOT_BITS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # [column][row], U+2800 onwards
STYLES = ("cyan", "yellow", "magenta", "green")
MARKS = "●◆■▲"


def draw_plot(curves: Mapping[str, Points], width: int = 60, height: int = 10) -> Text:
    """The first curve is a line of braille dots, each further one is marked point by point."""
    filled = {name: points for name, points in curves.items() if points}
    counts = [2 * width, *[width // 3] * len(filled)]  # marks leave the line visible
    curves = {name: thin(filled[name], count) for name, count in zip(filled, counts, strict=False)}
    values = [value for points in curves.values() for _, value in points]
    steps = [step for points in curves.values() for step, _ in points]
    if not values:
        return Text("no points yet")
    low, high = min(values), max(values)
    first, last = min(steps), max(steps)

    def place(step: int, value: float) -> tuple[int, int]:
        """Dot coordinates, from the top left."""
        across = (step - first) / (last - first or 1)
        up = (value - low) / (high - low or 1)
        return round(across * (2 * width - 1)), round((1 - up) * (4 * height - 1))

    cells = [[(" ", "")] * width for _ in range(height)]
    for index, points in enumerate(curves.values()):
        dots = [place(step, value) for step, value in points]
        if index == 0:
            _draw_line(cells, dots)
        else:
            for x, y in dots:
                cells[y // 4][x // 2] = (_mark(index), _style(index))
    labels = {0: f"{high:.4g}", height - 1: f"{low:.4g}"}
    return _assemble(cells, labels, list(curves), f"step {first}", str(last))


def _draw_line(cells: list[list[tuple[str, str]]], dots: list[tuple[int, int]]) -> None:
    masks: dict[tuple[int, int], int] = {}
    for (x0, y0), (x1, y1) in zip(dots, dots[1:] or dots, strict=False):
        length = max(abs(x1 - x0), abs(y1 - y0), 1)
        for i in range(length + 1):
            x, y = round(x0 + (x1 - x0) * i / length), round(y0 + (y1 - y0) * i / length)
            cell = y // 4, x // 2
            masks[cell] = masks.get(cell, 0) | DOT_BITS[x % 2][y % 4]
    for (row, column), mask in masks.items():
        cells[row][column] = (chr(0x2800 + mask), _style(0))


def _assemble(
    cells: list[list[tuple[str, str]]], labels: dict[int, str], names: list[str], *ends: str
) -> Text:
    margin = max(len(label) for label in labels.values())
    text = Text(no_wrap=True)
    for row, line in enumerate(cells):
        text.append(f"{labels.get(row, ''):>{margin}} ┤", "dim")
        for char, style in line:
            text.append(char, style)
        text.append("\n")
    text.append(" " * margin + " └" + "─" * len(cells[0]) + "\n", "dim")
    left, right = ends
    text.append(f"{'':{margin}}  {left}{right:>{len(cells[0]) - len(left)}}\n", "dim")
    text.append(" " * (margin + 2))
    for index, name in enumerate(names):
        text.append(f"{'⠤⠒' if index == 0 else _mark(index)} {name}   ", _style(index))
    return text


def _style(index: int) -> str:
    return STYLES[index % len(STYLES)]


def _mark(index: int) -> str:
    return MARKS[(index - 1) % len(MARKS)]


def thin(points: Points, count: int) -> Points:
    """At most `count` points: each stands for the mean of its neighbours, the last one stays."""
    if len(points) <= count:
        return points
    size = math.ceil(len(points) / count)
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [(group[-1][0], sum(value for _, value in group) / len(group)) for group in groups]
