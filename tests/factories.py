"""Rows and request bodies for tests: plain functions with keyword overrides."""

from dataclasses import dataclass
from typing import Any

from app.datasets.tables import Dataset
from app.db import transaction
from app.ids import new_id
from app.jobs import lifecycle
from app.jobs.leases import Lease
from app.projects import service as projects
from app.specs.columns import Column


@dataclass(frozen=True)
class Account:
    project_id: str
    key_id: str
    key: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


def make_account(*scopes: str, project_id: str | None = None) -> Account:
    """A key with `scopes` (all, if none are given), in a new project unless one is named."""
    with transaction() as session:
        if project_id is None:
            project_id = projects.create_project(session, new_id("project")).id
        key, plaintext = projects.create_key(session, project_id, "test", scopes or ["admin"])
        return Account(project_id, key.id, plaintext)


def number(name: str, **facts: Any) -> Column:
    facts = {"distinct": 100, "rarest": 1, "min": 0.0, "max": 9.5, "mean": 4.0} | facts
    return Column(name=name, kind="number", **facts)


def category(name: str, *values: str, rows: int = 150, **facts: Any) -> Column:
    values = values or ("a", "b", "c")
    share = rows // len(values)
    facts = {"distinct": len(values), "rarest": share} | facts
    return Column(name=name, kind="category", values=[(v, share) for v in values], **facts)


def flower_columns() -> list[Column]:
    return [number("length"), number("width"), category("color"), category("species", "x", "y")]


def make_dataset(project_id: str, *columns: Column, rows: int = 150, **values: Any) -> str:
    """The row of a dataset, without files. Returns its id."""
    chosen = columns or flower_columns()
    with transaction() as session:
        dataset = Dataset(
            project_id=project_id,
            columns=[column.model_dump(mode="json") for column in chosen],
            rows=rows,
            **{
                "name": "flowers",
                "filename": "flowers.csv",
                "format": "csv",
                "sha256": "0" * 64,
                "size_bytes": 1000,
            }
            | values,
        )
        session.add(dataset)
        session.flush()
        return dataset.id


def job_body(dataset_id: str, **parts: Any) -> dict[str, Any]:
    """The body of `POST /v1/jobs`. `dataset` is merged, other parts replace."""
    dataset = {"id": dataset_id, "target": "species"} | parts.pop("dataset", {})
    return {"name": "flowers", "model": {"type": "logistic"}, "dataset": dataset} | parts


def claim_job(worker: str = "worker") -> Lease:
    """Start the next due job, as a worker would."""
    with transaction() as session:
        lease = lifecycle.claim(session, worker)
    assert lease is not None
    return lease
