"""Datasets on the wire."""

from datetime import datetime
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, Field

from app.specs.columns import ImageFacts, SequenceFacts
from app.specs.data import ColumnKind, DatasetFormat


class ColumnSummary(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    name: str
    kind: ColumnKind
    missing: int
    distinct: int


class ColumnDetail(ColumnSummary):
    integer: bool = Field(description="Whether every number is whole.")
    first_missing_row: int | None = Field(description="Rows count from 1, without a header.")
    rarest: int = Field(description="Rows of the least common value.")
    min: float | None
    max: float | None
    mean: float | None
    values: list[tuple[str, int]] = Field(
        description="The most common values with their counts, at most 100."
    )
    image: ImageFacts | None = Field(default=None, description="Of pictures, in pixels.")
    sequence: SequenceFacts | None = Field(default=None, description="Of sequences, in steps.")


class DatasetSummary(BaseModel):
    """A dataset as lists show it."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    name: str
    filename: str
    format: DatasetFormat
    sha256: str = Field(description="Of the file as it was uploaded.")
    size_bytes: int
    rows: int
    columns: list[ColumnSummary]
    created_at: datetime


class DatasetDetail(DatasetSummary):
    columns: list[ColumnDetail]  # type: ignore[assignment]  # more of the same


class Preview(BaseModel):
    """The first rows as they are trained on: numbers, text, and null where a cell is missing.

    Of a picture its name, height, width and channels; of a sequence its first steps.
    """

    columns: list[str]
    rows: list[list[Any]]


UPLOAD_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "name": {
                            "type": "string",
                            "maxLength": 200,
                            "description": "Default: the name of the file.",
                        },
                        "format": {
                            "type": "string",
                            "enum": list(get_args(DatasetFormat)),
                            "description": "Default: guessed from the content and the file name.",
                        },
                        "sha256": {
                            "type": "string",
                            "description": "In hex. A file with another digest is refused.",
                        },
                    },
                    "additionalProperties": False,
                }
            }
        },
    }
}
