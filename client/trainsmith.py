"""The entry point of the SDK."""

from types import TracebackType
from typing import Any

from client.checkpoints import Checkpoints
from client.config import find_connection
from client.datasets import Datasets
from client.errors import ApiError
from client.http import Http
from client.jobs import Jobs
from client.models import Models


class Trainsmith:
    """A server, as seen with one API key.

    Without arguments it is found from TRAINSMITH_URL and TRAINSMITH_API_KEY, else from the data
    folder of a server that runs here (TRAINSMITH_HOME, by default `.trainsmith`).
    """

    def __init__(self, url: str | None = None, api_key: str | None = None) -> None:
        self._http = Http(find_connection(url, api_key))
        self.url = self._http.url
        self.datasets = Datasets(self._http)
        self.jobs = Jobs(self._http)
        self.checkpoints = Checkpoints(self._http)
        self.models = Models(self._http)

    def ready(self) -> dict[str, Any]:
        """`status` is ok once Postgres, Redis and the disk are; `checks` has each of them."""
        response = self._http.look("/readyz")
        if response.status_code not in (200, 503):
            raise ApiError.from_response(response)
        answer: dict[str, Any] = response.json()
        return answer

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> "Trainsmith":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
