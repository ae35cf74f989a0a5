import re
from typing import Annotated, Any, Literal

from fastapi import Depends, Path, Query, Request, Response

from app.auth import Principal, PrincipalDep, require
from app.checkpoints import bundle, lookup, service
from app.checkpoints.schemas import CheckpointOut, show
from app.checkpoints.tables import Checkpoint
from app.db import transaction
from app.deps import SessionDep
from app.detached import allow
from app.downloads import Download, send_file
from app.errors import NotFound
from app.jobs.deps import JobDep
from app.jobs.tables import Job
from app.pagination import CursorQuery, LimitQuery, Page
from app.routing import make_router
from app.storage import get_path

router = make_router(tags=["checkpoints"])
downloads = make_router(tags=["checkpoints"])
writes = require("write")

CHECKPOINT_ID = re.compile(r"ckpt_[0-9a-f]{32}")
Format = Annotated[
    Literal["bundle", "safetensors"],
    Query(description="bundle: a zip that predicts by itself. safetensors: the weights alone."),
]


def read_id(
    checkpoint_id: Annotated[str, Path(description="`ckpt_` and 32 hex digits.")],
) -> str:
    if not CHECKPOINT_ID.fullmatch(checkpoint_id):
        raise NotFound("No such checkpoint.")
    return checkpoint_id


CheckpointId = Annotated[str, Depends(read_id)]


def find(checkpoint_id: CheckpointId, principal: PrincipalDep, session: SessionDep) -> Checkpoint:
    checkpoint, _ = lookup.find_checkpoint(session, principal.project_id, checkpoint_id)
    return checkpoint


CheckpointDep = Annotated[Checkpoint, Depends(find, scope="function")]


@router.get("/jobs/{job_id}/checkpoints", response_model=Page[CheckpointOut])
def list_checkpoints(
    job: JobDep, session: SessionDep, limit: LimitQuery = 50, cursor: CursorQuery = None
) -> Any:
    """The checkpoints that a job has kept, newest first."""
    rows, next_cursor = lookup.list_checkpoints(session, job.id, limit, cursor)
    return {"data": [show(row) for row in rows], "next_cursor": next_cursor}


@router.get("/checkpoints/{checkpoint_id}", response_model=CheckpointOut)
def get_checkpoint(checkpoint: CheckpointDep) -> Any:
    """Where in training it was taken, how good it is and what it holds."""
    return show(checkpoint)


@router.post(
    "/checkpoints/{checkpoint_id}/pin", dependencies=[writes], response_model=CheckpointOut
)
def pin_checkpoint(checkpoint: CheckpointDep, session: SessionDep) -> Any:
    """Keep it, and its job, whatever else is pruned or expires. Pinning twice is fine."""
    return show(service.set_pinned(session, checkpoint, True))


@router.post(
    "/checkpoints/{checkpoint_id}/unpin", dependencies=[writes], response_model=CheckpointOut
)
def unpin_checkpoint(checkpoint: CheckpointDep, session: SessionDep) -> Any:
    """Let it be pruned and expire like any other."""
    return show(service.set_pinned(session, checkpoint, False))


@downloads.api_route(
    "/checkpoints/{checkpoint_id}/download", methods=["GET", "HEAD"], response_class=Download
)
def download_checkpoint(
    request: Request,
    principal: Annotated[Principal, allow("read")],  # first: without a key, 401 and nothing else
    checkpoint_id: CheckpointId,
    format: Format = "bundle",
) -> Response:
    """A trained model. The entity tag is the sha256 of the file; ranges and resuming work."""
    with transaction() as session:
        checkpoint, job = lookup.find_checkpoint(session, principal.project_id, checkpoint_id)
    source = bundle.Source(
        folder=get_path(checkpoint.path),
        model_sha256=checkpoint.files[bundle.MODEL]["sha256"],
        evaluation=lookup.choose_evaluation(checkpoint, job),
    )
    get = bundle.get_bundle if format == "bundle" else bundle.get_model
    try:
        kept = get(source)
        file = kept.path.open("rb")
    except FileNotFoundError as error:  # deleted since its row was read
        raise NotFound("No such checkpoint.") from error
    filename = name_download(job, checkpoint) + kept.path.suffix
    media_type = "application/zip" if format == "bundle" else "application/octet-stream"
    return send_file(request, file, sha256=kept.sha256, filename=filename, media_type=media_type)


def name_download(job: Job, checkpoint: Checkpoint) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", job.name.lower()).strip("-")[:80] or "model"
    return f"{slug}-{checkpoint.step}"
