"""Checkpoints: resumable states of a job, and the bundles made from them."""

from collections.abc import Iterator
from pathlib import Path

from client.answers import Checkpoint
from client.download import Download
from client.http import Http, path_of
from client.paging import read_pages


class Checkpoints:
    def __init__(self, http: Http) -> None:
        self._http = http

    def list(self, job_id: str, limit: int | None = None) -> Iterator[Checkpoint]:
        """Newest first."""
        return read_pages(self._http, path_of("jobs", job_id, "checkpoints"), {}, limit)

    def get(self, checkpoint_id: str) -> Checkpoint:
        checkpoint: Checkpoint = self._http.get(path_of("checkpoints", checkpoint_id))
        return checkpoint

    def best(self, job_id: str) -> Checkpoint | None:
        """The best one by the job's monitored metric, else the newest."""
        checkpoints = list(self.list(job_id))
        best = [checkpoint for checkpoint in checkpoints if checkpoint["best"]]
        return next(iter(best or checkpoints), None)

    def pin(self, checkpoint_id: str) -> Checkpoint:
        """Keep it, and its job, whatever else is pruned or expires."""
        return self._act(checkpoint_id, "pin")

    def unpin(self, checkpoint_id: str) -> Checkpoint:
        return self._act(checkpoint_id, "unpin")

    def _act(self, checkpoint_id: str, action: str) -> Checkpoint:
        url = path_of("checkpoints", checkpoint_id, action)
        checkpoint: Checkpoint = self._http.post(url, repeatable=True)
        return checkpoint

    def download(self, checkpoint_id: str, path: str | Path, format: str = "bundle") -> str:
        """Save to the file `path` and return its sha256, which has been verified.

        An interrupted download goes on where it stopped, also when called again later.
        Raises DigestMismatch; `path` then does not exist, or is what it was before.
        """
        url = path_of("checkpoints", checkpoint_id, "download")
        return Download(self._http, url, {"format": format}, Path(path)).run()
