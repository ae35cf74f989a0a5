from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from app.auth import Scope
from app.specs.base import Name, Spec


class NewProject(Spec):
    name: Name = Field(description="Unique on this server.")


class NewKey(Spec):
    name: Name = Field(description="What the key is for.")
    scopes: list[Scope] = Field(
        default=["read", "write"],
        min_length=1,
        max_length=3,
        description="write includes read, admin includes both.",
    )
    expires_at: Annotated[AwareDatetime | None, Field(strict=False)] = Field(
        default=None, description="RFC 3339. Unset: never."
    )


class ProjectOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    max_queued: int | None = Field(description="Jobs that may wait. Null: no cap.")
    max_running: int | None = Field(description="Jobs that may run at a time. Null: no cap.")
    created_at: datetime


class KeyOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class KeyCreated(KeyOut):
    key: str = Field(description="The key itself. It is shown this once.")


class ProjectCreated(ProjectOut):
    key: KeyCreated = Field(description="The first key of the project, with every scope.")
