"""What can go wrong, each as one clean line of text."""

from http import HTTPStatus
from typing import Any, TypedDict

import httpx2


class FieldError(TypedDict):
    """One bad field. `loc` is a path into the request, as in ["training", "epochs"]."""

    loc: list[str | int]
    message: str
    type: str


class TrainsmithError(Exception):
    """Everything this package raises on purpose."""


class NotConfigured(TrainsmithError):
    """No server or no API key was found."""


class ConnectionFailed(TrainsmithError):
    """The server could not be reached, or did not answer in time."""


class DigestMismatch(TrainsmithError):
    """The bytes that arrived are not the bytes that were announced."""


class WaitTimeout(TrainsmithError):
    """The job had not ended when the time to wait was over."""


class ApiError(TrainsmithError):
    """An answer of the server that says no (RFC 9457 problem details)."""

    def __init__(
        self,
        status: int,
        type: str,
        detail: str,
        errors: list[FieldError] | None = None,
        request_id: str | None = None,
    ) -> None:
        self.status = status
        self.type = type
        self.detail = detail
        self.errors = errors or []
        self.request_id = request_id
        super().__init__(self._line())

    def _line(self) -> str:
        fields = "; ".join(
            f"{'.'.join(str(part) for part in error['loc'])}: {error['message']}"
            for error in self.errors
        )
        text = f"{self.detail} {fields}" if fields else self.detail
        return f"{' '.join(text.split())} [{self.status} {self.type}]"

    @classmethod
    def from_response(cls, response: httpx2.Response) -> "ApiError":
        """Read a problem; any other body, as of a proxy, gives the status alone."""
        problem = _read_problem(response)
        detail = problem.get("detail") or problem.get("title")
        return cls(
            response.status_code,
            str(problem.get("type", "about:blank")).rsplit("/", 1)[-1],
            str(detail or _phrase(response.status_code)),
            problem.get("errors"),
            problem.get("request_id") or response.headers.get("X-Request-ID"),
        )


def _read_problem(response: httpx2.Response) -> dict[str, Any]:
    try:
        problem = response.json()
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "unexpected answer"
