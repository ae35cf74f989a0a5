from typing import Any

from app.auth import PrincipalDep, require
from app.deps import SessionDep
from app.retention import service
from app.retention.schemas import RetentionOut
from app.routing import make_router

router = make_router(tags=["retention"])


@router.get("/retention", dependencies=[require("admin")], response_model=RetentionOut)
def get_retention(principal: PrincipalDep, session: SessionDep) -> Any:
    """What of this project has outlived its time and goes with the next sweep. Deletes nothing."""
    return service.preview(session, principal.project_id)
