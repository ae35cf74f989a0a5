"""A job on the screen while it runs: bars on a terminal, plain lines anywhere else."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich import progress as bars
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn
from rich.table import Column

from client.answers import Event, Job, Progress
from client.plot import draw_plot
from client.trainsmith import Trainsmith

LOSSES = ("train/loss", "validation/loss")
REFRESH_SECONDS = 0.5
LINE_SECONDS = 2.0
COLOURS = {"succeeded": "green", "failed": "red", "cancelled": "yellow", "paused": "yellow"}


class Curves:
    """The loss curves, and the latest value of every metric."""

    def __init__(self) -> None:
        self.latest: dict[str, float] = {}
        self._losses: dict[str, dict[int, float]] = {name: {} for name in LOSSES}

    def add(self, event: Event) -> None:
        if event["type"] == "metric":
            for name, step, value in event["data"]["points"]:
                self.latest[name] = value
                if name in self._losses:
                    self._losses[name][step] = value
        elif event["type"] == "resumed":
            self._forget_after(event["data"]["step"])

    def _forget_after(self, step: int) -> None:
        """What an earlier attempt did past the checkpoint is done again."""
        for points in self._losses.values():
            for later in [s for s in points if s > step]:
                del points[later]

    def read_losses(self) -> dict[str, list[tuple[int, float]]]:
        return {name: sorted(points.items()) for name, points in self._losses.items() if points}

    def describe(self) -> str:
        shown = (name for name in (*LOSSES, "validation/accuracy", "validation/r2"))
        return "  ".join(f"{name} {self.latest[name]:.4g}" for name in shown if name in self.latest)

    def describe_briefly(self) -> str:
        losses = [f"{self.latest[name]:.3g}" for name in LOSSES if name in self.latest]
        return f"  loss {' / '.join(losses)}" if losses else ""


class View:
    """Shows events as lines; `LiveView` adds a bar below them."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.curves = Curves()
        self._state = ""
        self._shown_at = 0.0

    def __enter__(self) -> "View":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    def show_event(self, event: Event) -> None:
        self.curves.add(event)
        line = describe_event(event)
        if line and line != self._state:
            self._state = line if event["type"] == "state" else self._state
            self.print(line)

    def show_progress(self, job: Job) -> None:
        now = time.monotonic()
        if job["progress"]["step"] and now - self._shown_at >= LINE_SECONDS:
            self._shown_at = now
            self.print(f"{describe_progress(job['progress'])}  {self.curves.describe()}")

    def print(self, line: str) -> None:
        self.console.print(line, soft_wrap=True, highlight=False)


class LiveView(View):
    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._bars = bars.Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", table_column=Column(min_width=10, no_wrap=True)),
            BarColumn(bar_width=16),
            TextColumn("{task.fields[line]}", table_column=Column(no_wrap=True)),
            console=console,
            transient=True,
        )
        self._task: TaskID = self._bars.add_task("waiting", total=None, line="")

    def __enter__(self) -> "LiveView":
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def show_event(self, event: Event) -> None:
        super().show_event(event)
        if event["type"] == "state":
            place = event["data"].get("phase") or event["data"]["status"]
            self._bars.update(self._task, description=place)

    def show_progress(self, job: Job) -> None:
        self._bars.update(
            self._task,
            description=describe_place(job),
            completed=job["progress"]["step"],
            total=job["progress"]["total_steps"],
            line=f"{describe_rest(job['progress'])}{self.curves.describe_briefly()}",
        )


def watch_job(client: Trainsmith, job_id: str, console: Console) -> Job:
    """Show the job until it ends. Returns how it ended."""
    view = LiveView(console) if console.is_terminal else View(console)
    with view:
        refreshed_at = 0.0
        for event in client.jobs.stream(job_id):
            view.show_event(event)
            if time.monotonic() - refreshed_at >= REFRESH_SECONDS:
                view.show_progress(client.jobs.get(job_id))
                refreshed_at = time.monotonic()
    job = client.jobs.get(job_id)
    if losses := view.curves.read_losses():
        width = max(20, min(72, console.width - 14))
        console.print(draw_plot(losses, width=width), soft_wrap=True)
    console.print(describe_end(job), soft_wrap=True, highlight=False)
    if job["status"] == "succeeded":
        scores = describe_scores(client.jobs.evaluation(job_id))
        console.print(scores, soft_wrap=True, highlight=False)
    return job


def describe_event(event: Event) -> str:
    data = event["data"]
    match event["type"]:
        case "state":
            return describe_state(data)
        case "checkpoint":
            best = " (the best so far)" if data.get("best") else ""
            return f"[dim]checkpoint at step {data['step']}{best}[/]"
        case "warning":
            return f"[yellow]warning:[/] {escape(str(data.get('message', data)))}"
        case "fold":
            scores = join_scores(data["scores"]) or "not measured"
            return f"fold {data['fold']}/{data['folds']}: {scores}"
        case "lr_finder":
            return f"learning rate found: {data['chosen']:.3g}"
        case "resumed":
            return f"resumed from step {data['step']}"
        case _:
            return ""


def describe_state(data: Mapping[str, Any]) -> str:
    status = str(data["status"])
    text = f"[{COLOURS.get(status, 'bold')}]{status}[/]"
    if data.get("phase"):
        text += f": {data['phase']}"
    if data.get("requested"):
        text += f" ({data['requested']} requested)"
    return text


def describe_place(job: Job) -> str:
    if job["queue_position"]:
        return f"queued, place {job['queue_position']}"
    return job["phase"] or job["status"]


def describe_steps(progress: Progress) -> str:
    return f"{progress['step']}/{progress['total_steps'] or '?'}"


def describe_progress(progress: Progress) -> str:
    return f"step {describe_rest(progress)}  epoch {progress['epoch']:.1f}"


def describe_rest(progress: Progress) -> str:
    eta = progress["eta_seconds"]
    left = "" if eta is None else f"  {describe_seconds(eta)} left"
    return describe_steps(progress) + left


def describe_end(job: Job) -> str:
    status = job["status"]
    lines = [f"[{COLOURS.get(status, 'bold')}]{job['id']} {status}[/]"]
    if job["reason"]:
        lines[0] += f" ({job['reason']})"
    error = job["error"] or {}
    lines += [escape(text) for text in (error.get("message"), error.get("hint")) if text]
    return "\n".join(lines)


def describe_scores(evaluation: Mapping[str, Any]) -> str:
    """Test figures, or those of validation where no rows were held out."""
    part = "test" if evaluation.get("test") else "validation"
    lines = [join_scores(evaluation.get(part) or {}, f"{part}/")]
    if baseline := evaluation.get("baseline"):
        lines += [describe_baseline(baseline)]
    if folds := evaluation.get("cross_validation"):
        lines += [f"over {len(folds['folds'])} folds: {describe_spread(folds)}"]
    return "\n".join(lines)


def describe_baseline(baseline: Mapping[str, Any]) -> str:
    scores = {name: value for name, value in baseline.items() if name != "kind"}
    return f"baseline ({str(baseline['kind']).replace('_', ' ')}): {join_scores(scores)}"


def describe_spread(folds: Mapping[str, Any]) -> str:
    return "  ".join(
        f"{name} {mean:.4g} ± {folds['std'][name]:.2g}"
        for name, mean in sorted(folds["mean"].items())
    )


def join_scores(scores: Mapping[str, float], prefix: str = "") -> str:
    return "  ".join(f"{prefix}{name} {value:.4g}" for name, value in sorted(scores.items()))


def describe_seconds(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
