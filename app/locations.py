"""From where pydantic found an error to a path that exists in the body the client sent."""

from typing import Any

UNION_MEMBERS = ("literal[", "tagged-union[", "function-")


def find_location(loc: tuple[Any, ...], body: Any) -> list[str | int] | None:
    """Drop what pydantic adds for unions: names of members, and the `type` of a tagged one.

    None: the error belongs to a member of a union that the client did not mean.
    """
    if not loc or loc[0] != "body":
        return list(loc)
    path: list[str | int] = []
    value = body
    parts = loc[1:]
    for i, part in enumerate(parts):
        is_object = isinstance(value, dict)
        if isinstance(part, str) and part.startswith(UNION_MEMBERS):
            if part.startswith("literal[") and is_object:
                return None
            continue
        if isinstance(part, str) and not is_object:  # what is no object has no field
            continue
        if is_object and value.get("type") == part and i < len(parts) - 1:
            continue
        path.append(part)
        value = _descend(value, part)
    return path


def _descend(value: Any, part: str | int) -> Any:
    if isinstance(value, dict):
        return value.get(part)
    if isinstance(value, list) and isinstance(part, int) and part < len(value):
        return value[part]
    return None
