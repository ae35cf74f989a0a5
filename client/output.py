"""What the commands print: JSON for programs, aligned columns for people."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import typer
from rich.console import Console


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_json_line(value: Any) -> None:
    """One value per line, so that a program can read it while more is to come."""
    typer.echo(json.dumps(value, ensure_ascii=False))
    sys.stdout.flush()


def print_rows(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Columns as wide as they need to be: nothing is cut off, on a terminal or in a pipe."""
    table = [list(headers), *([show(value) for value in row] for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(headers))]
    for line in table:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        typer.echo("  ".join(padded).rstrip())


def print_fields(fields: Iterable[tuple[str, Any]]) -> None:
    shown = [(name, show(value)) for name, value in fields if value is not None]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        typer.echo(f"{name:<{width}}  {value}")


def show(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:.6g}"
        case str():
            return "".join(char if char.isprintable() else " " for char in value)
        case _:
            return str(value)


def show_time(text: str | None) -> str | None:
    """To the second: `2026-01-31 12:00:00`, in UTC as the server says it."""
    return None if text is None else text[:19].replace("T", " ")


def show_metrics(metrics: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.items()))


def make_console() -> Console:
    return Console(file=sys.stdout, highlight=False)


def note(text: str) -> None:
    """A remark for people: on stderr, so that it is never in the way of a pipe."""
    typer.echo(text, err=True)
