"""Jobs: training requests, from submission to the last event."""

import math
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from client.answers import ENDED, Event, ExplanationFile, Job, JobSummary, Series
from client.download import Download
from client.errors import ConnectionFailed, WaitTimeout
from client.feed import PATIENCE_SECONDS, follow_events
from client.http import Http, path_of
from client.paging import read_pages

POLL_SECONDS = 0.1
POLL_CAP_SECONDS = 1.0


def backoff() -> Iterator[float]:
    pause = POLL_SECONDS
    while True:
        yield pause
        pause = min(pause * 1.5, POLL_CAP_SECONDS)


class Jobs:
    def __init__(self, http: Http) -> None:
        self._http = http

    def create(self, spec: Mapping[str, Any], idempotency_key: str | None = None) -> Job:
        """Queue a job. Every call makes one, also over a bad line: see `idempotency_key`.

        Pass your own key to make a repeated call, as of a restarted script, answer the same job.
        """
        key = idempotency_key or uuid.uuid4().hex
        job: Job = self._http.post(path_of("jobs"), key=key, json=spec)
        return job

    def validate(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Everything that would make the job fail later, found now. Queues nothing."""
        answer: dict[str, Any] = self._http.post(
            path_of("jobs", "validate"), json=spec, repeatable=True
        )
        return answer

    def get(self, job_id: str) -> Job:
        job: Job = self._http.get(path_of("jobs", job_id))
        return job

    def list(
        self,
        *,
        status: str | None = None,
        model: str | None = None,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        limit: int | None = None,
    ) -> Iterator[JobSummary]:
        """Newest first, over all pages; at most `limit`."""
        chosen = {f"label.{key}": value for key, value in (labels or {}).items()}
        params = {"status": status, "model": model, "name": name, **chosen}
        return read_pages(self._http, path_of("jobs"), params, limit)

    def cancel(self, job_id: str) -> Job:
        """Stop for good. A running job saves first: it answers `requested`, and ends soon."""
        return self._act(job_id, "cancel", repeatable=True)

    def pause(self, job_id: str) -> Job:
        """Save and stop, until resumed."""
        return self._act(job_id, "pause", repeatable=True)

    def resume(self, job_id: str) -> Job:
        return self._act(job_id, "resume")

    def retry(
        self,
        job_id: str,
        start: Literal["scratch", "last", "best"] = "scratch",
        idempotency_key: str | None = None,
    ) -> Job:
        """A new job from the same spec, anew or from a checkpoint. See `create` for the key."""
        key = idempotency_key or uuid.uuid4().hex
        return self._act(job_id, "retry", key=key, json={"from": start})

    def delete(self, job_id: str) -> None:
        self._http.delete(path_of("jobs", job_id))

    def wait(self, job_id: str, timeout: float | None = None) -> Job:
        """Return the job once it has ended, however it ended. Raises WaitTimeout.

        A server that restarts meanwhile is waited for; raises ConnectionFailed if it stays away.
        """
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        last_contact = time.monotonic()
        status = "unknown"
        for pause in backoff():
            try:
                job = self.get(job_id)
            except ConnectionFailed:
                if time.monotonic() - last_contact > PATIENCE_SECONDS:
                    raise
            else:
                last_contact, status = time.monotonic(), job["status"]
                if status in ENDED:
                    return job
            if time.monotonic() + pause > deadline:
                raise WaitTimeout(f"{job_id} is still {status} after {timeout:g} s")
            time.sleep(pause)
        raise AssertionError("unreachable: the pauses never end")

    def stream(self, job_id: str, after: int = 0) -> Iterator[Event]:
        """Every event after `after`, once and in order, until the job has ended."""
        return follow_events(self._http, job_id, after)

    def metrics(self, job_id: str, *names: str, points: int | None = None) -> Sequence[Series]:
        """Series of [step, value], thinned to `points` each if there are more."""
        params = {"names": list(names) or None, "points": points}
        series: Sequence[Series] = self._http.get(path_of("jobs", job_id, "metrics"), params)[
            "series"
        ]
        return series

    def logs(self, job_id: str) -> str:
        return self._http.request("GET", path_of("jobs", job_id, "logs")).text

    def evaluation(self, job_id: str) -> dict[str, Any]:
        answer: dict[str, Any] = self._http.get(path_of("jobs", job_id, "evaluation"))
        return answer

    def explanations(self, job_id: str) -> Sequence[ExplanationFile]:
        """The files that explain single predictions: JSON and pictures. None until the end."""
        files: Sequence[ExplanationFile] = self._http.get(path_of("jobs", job_id, "explanations"))[
            "data"
        ]
        return files

    def download_explanation(self, job_id: str, name: str, path: str | Path) -> str:
        """Save to the file `path` and return its sha256, as `checkpoints.download` does."""
        return Download(
            self._http, path_of("jobs", job_id, "explanations", name), {}, Path(path)
        ).run()

    def _act(self, job_id: str, action: str, **options: Any) -> Job:
        job: Job = self._http.post(path_of("jobs", job_id, action), **options)
        return job
