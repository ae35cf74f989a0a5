"""Explanations on the wire."""

from pydantic import BaseModel, Field


class ExplanationFile(BaseModel):
    name: str
    type: str = Field(description="The method, as in `evaluation.explanations` of the spec.")
    media_type: str = Field(description="JSON, or PNG for pictures.")
    sha256: str
    size_bytes: int
    links: dict[str, str]


class ExplanationList(BaseModel):
    data: list[ExplanationFile]
