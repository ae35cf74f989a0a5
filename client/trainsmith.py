"""The entry point of the SDK."""

from types import TracebackType
from typing import Any

from client.checkpoints import Checkpoints
from client.config import find_connection
from client.datasets import Datasets
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
        """What the server says of its parts. Raises ApiError (503) when it is not ready."""
        answer: dict[str, Any] = self._http.get("/readyz")
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
