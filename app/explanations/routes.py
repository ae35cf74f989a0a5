from typing import Annotated, Any

from fastapi import Path, Request, Response

from app.auth import Principal
from app.db import transaction
from app.detached import allow
from app.downloads import Download, send_file
from app.errors import NotFound
from app.explanations import service
from app.explanations.schemas import ExplanationList
from app.jobs.deps import JobDep, JobId, find_job
from app.routing import make_router

router = make_router(tags=["explanations"])
downloads = make_router(tags=["explanations"])
FileName = Annotated[str, Path(description="As listed.")]


@router.get("/jobs/{job_id}/explanations", response_model=ExplanationList)
def list_explanations(job: JobDep) -> Any:
    """The files that explain single predictions. Empty until the job has succeeded."""
    base = f"/v1/jobs/{job.id}/explanations"
    files = service.list_files(job)
    return {"data": [{**file, "links": {"self": f"{base}/{file['name']}"}} for file in files]}


@downloads.api_route(
    "/jobs/{job_id}/explanations/{name}", methods=["GET", "HEAD"], response_class=Download
)
def download_explanation(
    request: Request,
    principal: Annotated[Principal, allow("read")],  # first: without a key, 401 and nothing else
    job_id: JobId,
    name: FileName,
) -> Response:
    """JSON, or a picture. The entity tag is the sha256 of the file; ranges and resuming work."""
    with transaction() as session:
        file, path = service.find_file(find_job(session, principal.project_id, job_id), name)
    try:
        opened = path.open("rb")
    except FileNotFoundError as error:  # deleted since its row was read
        raise NotFound("This job has no such explanation.") from error
    return send_file(
        request, opened, sha256=file["sha256"], filename=name, media_type=file["media_type"]
    )
