"""A finished checkpoint on disk and in the database, as a worker leaves it."""

import hashlib
from pathlib import Path
from typing import Any

from app import storage
from app.checkpoints.service import add_checkpoint
from app.db import transaction
from app.jobs import lifecycle
from app.jobs.leases import Lease

TEXTS = {"config.json": "{}", "features.json": "{}", "predict.py": "pass\n", "README.md": "# M\n"}


def write_checkpoint(lease: Lease, step: int = 10, weights: bytes = b"weights" * 1000) -> Path:
    """The folder of a checkpoint, and that of its attempt's bundle."""
    attempt = storage.get_path(storage.attempt_key(lease.job_id, lease.attempt))
    folder = attempt / f"s{step}"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "state.safetensors").write_bytes(b"state")
    (attempt / "bundle").mkdir(exist_ok=True)
    for name, text in TEXTS.items():
        (attempt / "bundle" / name).write_text(text)
    return folder


def list_checkpoint(lease: Lease, step: int = 10, best: bool = True, **values: Any) -> str:
    """The row of a checkpoint, in a transaction that holds the job as a worker would."""
    folder = storage.get_path(storage.checkpoint_key(lease.job_id, lease.attempt, step))
    files = {path.name: describe(path) for path in sorted(folder.glob("*.safetensors"))}
    with transaction() as session:
        assert lifecycle.record(session, lease)
        row = add_checkpoint(
            session,
            job_id=lease.job_id,
            attempt_id=lease.attempt_id,
            step=step,
            epoch=1.0,
            path=storage.checkpoint_key(lease.job_id, lease.attempt, step),
            files=values.pop("files", files),
            metrics={"loss": 0.5},
            best=best,
        )
        return row.id


def describe(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
