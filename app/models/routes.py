from typing import Any

from app.models import service
from app.models.schemas import Catalogue, TaskVariant
from app.routing import make_router

router = make_router(tags=["models"])


@router.get("/models", response_model=Catalogue)
def list_models() -> Any:
    """The model families with JSON Schema and defaults; optimizers, schedules, losses,
    augmentations, metrics."""
    return service.describe_everything()


@router.get("/models/{type}", response_model=TaskVariant)
def get_model(type: str) -> Any:
    """One model family."""
    return service.find_family(type)
