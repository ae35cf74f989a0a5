"""What becomes of a column of sequences."""

from app.jobs.findings import Findings, Loc
from app.specs.columns import Column, SequenceFacts


def get_facts(column: Column) -> SequenceFacts:
    """Of a column without any sequence: the caller has refused it, whatever it would become."""
    return column.sequence or SequenceFacts(width=1, steps_min=1, steps_max=1)


def refuse_missing_sequences(found: Findings, loc: Loc, column: Column) -> None:
    if column.missing:
        found.refuse(
            loc,
            f"column {column.name!r} has no sequence in {column.missing} rows, first in row "
            f"{column.first_missing_row}; leave these rows out, or bring their sequences",
        )


def check_test_sequences(found: Findings, wanted: Column, column: Column) -> None:
    loc: Loc = ["dataset", "test_id"]
    refuse_missing_sequences(found, loc, column)
    ours, theirs = get_facts(wanted).width, get_facts(column).width
    if ours != theirs:
        found.refuse(
            loc,
            f"column {column.name!r} has steps of {theirs} numbers in the test dataset, not of "
            f"{ours}; bring sequences of the same numbers",
        )
