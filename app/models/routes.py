from typing import Any

from app.models import service
from app.models.schemas import Catalogue, FamilyVariant
from app.routing import make_router

router = make_router(tags=["models"])


@router.get("/models", response_model=Catalogue)
def list_models() -> Any:
    """The model families with JSON Schema and defaults; optimizers, schedules, losses,
    augmentations, explanations, metrics."""
    return service.describe_everything()


@router.get("/models/{type}", response_model=FamilyVariant)
def get_model(type: str) -> Any:
    """One model family."""
    return service.find_family(type)
