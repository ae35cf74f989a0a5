"""Datasets: what there is to train on."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from client.answers import Dataset, Preview
from client.errors import DigestMismatch
from client.http import UPLOAD_TIMEOUT, Http, path_of
from client.paging import read_pages


class Datasets:
    def __init__(self, http: Http) -> None:
        self._http = http

    def upload(
        self, path: str | Path, name: str | None = None, format: str | None = None
    ) -> Dataset:
        """Send a table, text, arrays or a zip of pictures. It is streamed, whatever its size.

        Raises ApiError listing every bad row, and DigestMismatch if the server stored other bytes.
        """
        path = Path(path)
        sha256 = hash_file(path)
        fields: dict[str, Any] = {"name": name or path.stem, "sha256": sha256}
        if format is not None:
            fields["format"] = format
        with path.open("rb") as file:
            dataset: Dataset = self._http.post(
                path_of("datasets"),
                data=fields,
                files={"file": (path.name, file)},
                timeout=UPLOAD_TIMEOUT,
            )
        if dataset["sha256"] != sha256:
            raise DigestMismatch(f"{path} changed on its way: delete {dataset['id']} and try again")
        return dataset

    def get(self, dataset_id: str) -> Dataset:
        dataset: Dataset = self._http.get(path_of("datasets", dataset_id))
        return dataset

    def list(self, limit: int | None = None) -> Iterator[Dataset]:
        """Newest first, over all pages; at most `limit`."""
        return read_pages(self._http, path_of("datasets"), {}, limit)

    def preview(self, dataset_id: str, rows: int | None = None) -> Preview:
        """The first rows, as they are trained on."""
        path = path_of("datasets", dataset_id, "preview")
        preview: Preview = self._http.get(path, {"rows": rows})
        return preview

    def delete(self, dataset_id: str) -> None:
        self._http.delete(path_of("datasets", dataset_id))


def hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
