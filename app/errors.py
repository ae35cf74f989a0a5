"""Expected failures. Each class is one kind of problem (RFC 9457)."""

import re
from typing import ClassVar, TypedDict


class FieldError(TypedDict):
    """One bad field. `loc` is a path into the body, as in ["dataset", "target"]."""

    loc: list[str | int]
    message: str
    type: str


class AppError(Exception):
    """The docstring of the subclass is the default message, its name the problem type."""

    status_code: ClassVar[int] = 500
    headers: ClassVar[dict[str, str]] = {}
    errors: list[FieldError]

    def __init__(self, message: str | None = None, errors: list[FieldError] | None = None) -> None:
        super().__init__(message or self.__doc__)
        self.errors = errors or []

    @classmethod
    def slug(cls) -> str:
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", cls.__name__).lower()

    @classmethod
    def title(cls) -> str:
        return cls.slug().replace("-", " ").capitalize()


class Unauthenticated(AppError):
    """Send an API key: `Authorization: Bearer <key>`."""

    status_code = 401
    headers: ClassVar[dict[str, str]] = {"WWW-Authenticate": "Bearer"}


class Forbidden(AppError):
    """This API key lacks the scope for that."""

    status_code = 403


class QuotaExceeded(AppError):
    """The project has reached one of its limits."""

    status_code = 403


class NotFound(AppError):
    """No such resource."""

    status_code = 404


class Conflict(AppError):
    """The resource is not in a state that allows this."""

    status_code = 409


class ValidationError(AppError):
    """The request is not valid."""

    status_code = 422


def field_error(loc: list[str | int], message: str, kind: str = "value_error") -> FieldError:
    return {"loc": loc, "message": message, "type": kind}


class MalformedBody(AppError):
    """The body is not valid JSON in UTF-8."""

    status_code = 400


class IdempotencyKeyInvalid(AppError):
    """An Idempotency-Key has 1 to 255 printable ASCII characters."""

    status_code = 400


class IdempotencyKeyReused(AppError):
    """This Idempotency-Key was used with another request. Send a new key for a new job."""

    status_code = 422


class MethodNotAllowed(AppError):
    """This resource does not support that method."""

    status_code = 405


class PayloadTooLarge(AppError):
    """The body is larger than this resource accepts."""

    status_code = 413


class UnsupportedMediaType(AppError):
    """Send `Content-Type: application/json`, without a Content-Encoding."""

    status_code = 415


class ResourceLimit(AppError):
    """The job needs more than this server allows."""

    status_code = 422


class RateLimited(AppError):
    """Too many requests at once."""

    status_code = 429
    headers: ClassVar[dict[str, str]] = {"Retry-After": "5"}


class InternalError(AppError):
    """The server failed. Its log has the details under this request_id."""

    status_code = 500


class Unavailable(AppError):
    """The database is not answering. Try again soon."""

    status_code = 503
    headers: ClassVar[dict[str, str]] = {"Retry-After": "2"}
