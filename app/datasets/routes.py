import re
from typing import Annotated, Any

import anyio
from anyio.lowlevel import RunVar
from fastapi import Depends, Path, Query, Request, Response

from app.auth import Principal, PrincipalDep, require
from app.datasets import gallery, service, upload
from app.datasets.schemas import UPLOAD_FORM, DatasetDetail, DatasetSummary, Preview
from app.datasets.tables import Dataset
from app.deps import SessionDep
from app.detached import allow
from app.downloads import Download, send_file
from app.errors import NotFound
from app.ids import new_id
from app.pagination import CursorQuery, LimitQuery, Page
from app.routing import make_router

router = make_router(tags=["datasets"])
uploads = make_router(tags=["datasets"])

DATASET_ID = re.compile(r"ds_[0-9a-f]{32}")
UNLIMITED_BYTES = 2**62  # `upload` counts for itself, with a limit that can be set
INSPECTIONS_AT_ONCE = 2  # each may take a gigabyte of memory and two cores
MAX_PREVIEW_ROWS = 1000
_inspections: RunVar[anyio.CapacityLimiter] = RunVar("inspections")


class Picture(Response):
    media_type = "image/png"


def get_inspections() -> anyio.CapacityLimiter:
    """One per event loop. Uploads wait here without taking a thread from other requests."""
    try:
        return _inspections.get()
    except LookupError:
        _inspections.set(anyio.CapacityLimiter(INSPECTIONS_AT_ONCE))
        return _inspections.get()


def read_id(dataset_id: Annotated[str, Path(description="`ds_` and 32 hex digits.")]) -> str:
    if not DATASET_ID.fullmatch(dataset_id):
        raise NotFound("No such dataset.")
    return dataset_id


DatasetId = Annotated[str, Depends(read_id)]


def get_dataset(dataset_id: DatasetId, principal: PrincipalDep, session: SessionDep) -> Dataset:
    return service.find_dataset(session, principal.project_id, dataset_id)


DatasetDep = Annotated[Dataset, Depends(get_dataset, scope="function")]
RowPath = Annotated[int, Path(ge=1, le=MAX_PREVIEW_ROWS, description="Rows count from 1.")]
ColumnQuery = Annotated[
    str | None, Query(max_length=256, description="Default: the first that holds pictures.")
]
RowsQuery = Annotated[int, Query(ge=1, le=MAX_PREVIEW_ROWS, description="How many rows.")]


@uploads.post(
    "/datasets",
    status_code=201,
    response_model=DatasetDetail,
    openapi_extra=UPLOAD_FORM,
    max_body_size=UNLIMITED_BYTES,
)
async def upload_dataset(
    request: Request, response: Response, principal: Annotated[Principal, allow("write")]
) -> Any:
    """Store tables, text, pictures or arrays. Bad rows are refused, and every one of them named."""
    dataset_id = new_id("ds")
    with upload.open_folder(dataset_id) as folder:
        received = await upload.receive(request, folder)
        dataset = await anyio.to_thread.run_sync(
            service.add_dataset,
            principal.project_id,
            dataset_id,
            folder,
            received,
            limiter=get_inspections(),
        )
    response.headers["Location"] = f"/v1/datasets/{dataset.id}"
    return dataset


@router.get("/datasets", response_model=Page[DatasetSummary])
def list_datasets(
    principal: PrincipalDep,
    session: SessionDep,
    limit: LimitQuery = 50,
    cursor: CursorQuery = None,
) -> Any:
    """The datasets of this project, newest first."""
    data, next_cursor = service.list_datasets(session, principal.project_id, limit, cursor)
    return {"data": data, "next_cursor": next_cursor}


@router.get("/datasets/{dataset_id}", response_model=DatasetDetail)
def get_dataset_detail(dataset: DatasetDep) -> Any:
    """What was found in each column."""
    return dataset


@router.get("/datasets/{dataset_id}/preview", response_model=Preview)
def preview_dataset(dataset: DatasetDep, rows: RowsQuery = 20) -> Any:
    """The first rows, as they are trained on."""
    names = [column["name"] for column in dataset.columns]
    return {"columns": names, "rows": service.read_preview(dataset, rows)}


@router.get(
    "/datasets/{dataset_id}/images/{row}",
    response_class=Picture,
    responses={200: {"content": {"image/png": {}}}},
)
def get_picture(dataset: DatasetDep, row: RowPath, column: ColumnQuery = None) -> Response:
    """A picture of the preview as PNG, as it is trained on."""
    return Picture(gallery.read_picture(dataset, row, column))


@router.api_route(
    "/datasets/{dataset_id}/content", methods=["GET", "HEAD"], response_class=Download
)
def get_content(request: Request, dataset: DatasetDep) -> Response:
    """The file as it was uploaded."""
    file = service.open_file(dataset, "original")
    return send_file(request, file, sha256=dataset.sha256, filename=dataset.filename)


@router.delete("/datasets/{dataset_id}", status_code=204, dependencies=[require("write")])
def delete_dataset(dataset_id: DatasetId, principal: PrincipalDep, session: SessionDep) -> Response:
    """Delete a dataset that no queued, running or paused job needs. Deleting twice is fine."""
    service.delete_dataset(session, principal.project_id, dataset_id)
    return Response(status_code=204)
