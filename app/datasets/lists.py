"""Cells that are lists: sequences of steps, each of as many numbers in every row of a column.

A list of numbers is a sequence of steps of one number.
"""

# ruff: noqa: S608 - names are quoted, and this DuckDB is locked into one folder

from dataclasses import dataclass

from duckdb import DuckDBPyConnection

from app.datasets.staging import MAX_PROBLEMS, Problem, Problems

MAX_STEPS = 100_000
NUMBERS = '"(DOUBLE|U?BIGINT|HUGEINT)"'  # as DuckDB calls those of JSON
FAULTS = {
    "not_a_sequence": "neither a list of numbers nor a list of steps of numbers",
    "null_in_sequence": "null inside a sequence",
    "empty_sequence": "an empty list: a sequence has at least one step of one number",
    "ragged_sequence": "the steps of one sequence differ in their count of numbers",
    "sequence_too_long": f"more than {MAX_STEPS:,} steps",
    "not_finite": "NaN, infinity or a number too large in a sequence",
}


@dataclass(frozen=True)
class Lists:
    """SQL over one column of lists. `flat` says whether a cell is a list of numbers, `steps` is it
    as DOUBLE[][]; `faults` are conditions on it as it was, to look at before `steps`."""

    cell: str
    flat: str
    steps: str
    faults: tuple[tuple[str, str], ...] = ()


def read_json_lists(cell: str) -> Lists:
    """`cell` is the text of a JSON list."""
    structure = f"json_structure({cell})"
    flat = rf"regexp_full_match({structure}, '\[{NUMBERS}\]')"
    deep = rf"regexp_full_match({structure}, '\[\[{NUMBERS}\]\]')"
    empty = f"""regexp_full_match({structure}, '\\[+"NULL"\\]+')"""
    return Lists(
        cell,
        flat,
        f"""CASE WHEN {flat} THEN [[v] FOR v IN from_json({cell}, '["DOUBLE"]')]"""
        f""" WHEN {deep} THEN from_json({cell}, '[["DOUBLE"]]') END""",
        (
            ("null_in_sequence", f"({flat} OR {deep} OR {empty}) AND contains({cell}, 'null')"),
            ("empty_sequence", empty),
            ("not_a_sequence", f"NOT {flat} AND NOT {deep}"),
        ),
    )


def read_typed_lists(cell: str, depth: int) -> Lists:
    """`cell` is a list of numbers, or of such lists."""
    if depth == 1:
        return Lists(cell, "true", f"[[v::DOUBLE] FOR v IN {cell}]")
    return Lists(cell, "false", f"{cell}::DOUBLE[][]")


def check_lists(
    connection: DuckDBPyConnection, source: str, name: str, lists: Lists, problems: Problems
) -> None:
    """Adds every cell that is no sequence, or one unlike most others of the column."""
    faults = " ".join(f"WHEN {test} THEN '{fault}'" for fault, test in list_faults(lists))
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE shapes AS"
        f" SELECT file_row_number + 1 AS place, CASE {faults} END AS fault, {lists.flat} AS flat,"
        f" len(({lists.steps})[1]) AS width FROM {source} WHERE {lists.cell} IS NOT NULL"
    )
    usual = connection.execute(
        "SELECT flat, width FROM shapes WHERE fault IS NULL GROUP BY ALL"
        " ORDER BY count(*) DESC, min(place) LIMIT 1"
    ).fetchone()
    odd = "fault IS NOT NULL OR (flat, width) IS DISTINCT FROM (?, ?)"
    chosen = usual or (None, None)
    query = f"FROM shapes WHERE {odd}"
    ((total,),) = connection.execute(f"SELECT count(*) {query}", chosen).fetchall()
    found = connection.execute(
        f"SELECT place, fault, flat, width {query} ORDER BY place LIMIT {MAX_PROBLEMS}", chosen
    ).fetchall()
    problems.add(
        [
            Problem(*describe(fault, (flat, width), chosen), row=row, column=name)
            for row, fault, flat, width in found
        ],
        total,
    )
    connection.execute("DROP TABLE shapes")


def list_faults(lists: Lists) -> list[tuple[str, str]]:
    """What may be wrong with a cell, in the order in which to look."""
    steps = f"({lists.steps})"
    numbers, widths = f"flatten({steps})", f"[len(s) FOR s IN {steps}]"
    nulls = f"list_contains([s IS NULL FOR s IN {steps}], true)"
    return [
        *lists.faults,
        (
            "null_in_sequence",
            f"{nulls} OR list_contains([v IS NULL FOR v IN {numbers}], true)",
        ),
        ("empty_sequence", f"len({steps}) = 0 OR list_max({widths}) = 0"),
        ("ragged_sequence", f"list_min({widths}) <> list_max({widths})"),
        ("sequence_too_long", f"len({steps}) > {MAX_STEPS}"),
        ("not_finite", f"list_contains([isfinite(v) FOR v IN {numbers}], false)"),
    ]


def describe(
    fault: str | None, shape: tuple[bool, int], usual: tuple[bool | None, int | None]
) -> tuple[str, str]:
    if fault is not None:
        return FAULTS[fault], fault
    return f"{tell_shape(*shape)} where most rows hold {tell_shape(*usual)}", "mixed_sequence"


def tell_shape(flat: bool | None, width: int | None) -> str:
    return "numbers" if flat else f"steps of {width}"
