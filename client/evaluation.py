"""An evaluation as tables: scores beside those of the trivial baseline, then classes or outputs."""

from collections.abc import Mapping, Sequence
from typing import Any

import typer

from client.output import note, print_rows

PARTS = ("test", "validation", "baseline")
NAMING = ("class", "column", "support")  # of a row of a table, before its scores


def show_evaluation(evaluation: Mapping[str, Any]) -> None:
    show_scores(evaluation)
    for title in ("per_class", "per_output"):
        if entries := evaluation.get(title):
            typer.echo()
            show_entries(entries)
    for warning in evaluation.get("warnings") or []:
        note(f"warning: {warning}")


def show_scores(evaluation: Mapping[str, Any]) -> None:
    """`folds` is the mean over them, and how much they differ."""
    columns = {part: evaluation[part] for part in PARTS if evaluation.get(part)}
    if folds := evaluation.get("cross_validation"):
        columns |= {f"{len(folds['folds'])} folds": folds["mean"], "deviation": folds["std"]}
    scored = dict.fromkeys(name for scores in columns.values() for name in scores)
    names = sorted(name for name in scored if name != "kind")
    rows = [[name, *(scores.get(name) for scores in columns.values())] for name in names]
    print_rows(["SCORE", *(title.upper() for title in columns)], rows)


def show_entries(entries: Sequence[Mapping[str, Any]]) -> None:
    """Those of lists and tables are left out: `--json` has them."""
    names = [name for name in NAMING if name in entries[0]]
    names += sorted(
        name
        for name, value in entries[0].items()
        if name not in names and not isinstance(value, list)
    )
    rows = [[entry.get(name) for name in names] for entry in entries]
    print_rows([name.upper() for name in names], rows)
