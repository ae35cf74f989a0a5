"""Model families: what can be trained, with a JSON Schema for each."""

from typing import Any

from client.http import Http, path_of


class Models:
    def __init__(self, http: Http) -> None:
        self._http = http

    def list(self) -> list[dict[str, Any]]:
        families: list[dict[str, Any]] = self.catalogue()["data"]
        return families

    def catalogue(self) -> dict[str, Any]:
        """The families as `data`, and all optimizers, schedules, losses, augmentations,
        explanations and metrics."""
        catalogue: dict[str, Any] = self._http.get(path_of("models"))
        return catalogue

    def get(self, type: str) -> dict[str, Any]:
        family: dict[str, Any] = self._http.get(path_of("models", type))
        return family
