"""Reads a file as an upload would be read, without the server and the child around it."""

from pathlib import Path
from typing import Any

import duckdb

from app.datasets.inspect import inspect


def read_file(folder: Path, content: bytes | str, filename: str = "table.csv") -> dict[str, Any]:
    """What the child would print."""
    folder.mkdir(exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    (folder / "original").write_bytes(data)
    return inspect(folder, filename, None)


def column_of(report: dict[str, Any], name: str) -> dict[str, Any]:
    (column,) = [column for column in report["columns"] if column["name"] == name]
    return dict(column)


def kinds_of(report: dict[str, Any]) -> dict[str, str]:
    assert "columns" in report, report
    return {column["name"]: column["kind"] for column in report["columns"]}


def problems_of(report: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Place and type of each problem: (line, type) or (line, column, type)."""
    assert report.get("problem") == "dataset-invalid", report
    return [(*error["loc"][1:], error["type"]) for error in report["errors"]]


def rows_of(folder: Path) -> list[tuple[Any, ...]]:
    """The rows of the table form."""
    return duckdb.sql(f"FROM '{folder}/table.parquet'").fetchall()


def make_parquet(folder: Path, query: str) -> bytes:
    folder.mkdir(exist_ok=True)
    path = folder / "made.parquet"
    duckdb.sql(f"COPY ({query}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")
    return path.read_bytes()
