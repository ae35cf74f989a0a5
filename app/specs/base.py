"""What every spec shares: strict, frozen, no unknown fields, and text that is safe to store."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Spec(BaseModel):
    """What a client asks for. Pure data: no torch, no database, no HTTP."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, validate_default=True
    )


def refuse_unsafe_text(text: str) -> str:
    """Postgres refuses NUL, UTF-8 refuses lone surrogates, line breaks would forge logs."""
    if any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 for char in text):
        raise ValueError("must not contain control characters")
    if any(0xD800 <= ord(char) < 0xE000 for char in text):
        raise ValueError("must not contain lone surrogates")
    if not text.strip():
        raise ValueError("must not be blank")
    return text


SafeText = Annotated[str, AfterValidator(refuse_unsafe_text)]
Name = Annotated[SafeText, Field(min_length=1, max_length=200)]
ColumnName = Annotated[SafeText, Field(min_length=1, max_length=256)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
LearningRate = Annotated[float, Field(ge=1e-12, le=1e3)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
