"""`trainsmith jobs …`"""

from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from client.answers import Job
from client.commands.options import AsJson, JobId, Limit, open_client
from client.commands.spec import apply_settings, read_spec
from client.evaluation import show_evaluation
from client.output import (
    make_console,
    note,
    print_fields,
    print_json,
    print_json_line,
    print_rows,
    show_time,
)
from client.plot import draw_plot
from client.trainsmith import Trainsmith
from client.watch import describe_progress, describe_steps, watch_job

app = typer.Typer(no_args_is_help=True, help="Training requests.")
NOT_SUCCEEDED = 3
INTERRUPTED = 130


class Start(Enum):
    SCRATCH = "scratch"
    LAST = "last"
    BEST = "best"


@app.command("submit")
def submit_job(
    ctx: typer.Context,
    spec: Annotated[str, typer.Argument(metavar="SPEC", help="A JSON file, or - for stdin.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="As in training.epochs=50. Repeatable."),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Watch it.")] = False,
    validate: Annotated[bool, typer.Option("--validate", help="Check it, queue nothing.")] = False,
    key: Annotated[
        str | None,
        typer.Option("--idempotency-key", help="The same key again answers the same job."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Queue a job."""
    body = apply_settings(read_spec(spec), settings or [])
    client = open_client(ctx)
    if validate:
        return print_json(client.jobs.validate(body))
    job = client.jobs.create(body, key)
    if follow:
        note(f"submitted {job['id']}")
        return follow_job(client, job["id"], as_json)
    print_json(job) if as_json else typer.echo(job["id"])


@app.command("list")
def list_jobs(
    ctx: typer.Context,
    status: Annotated[str | None, typer.Option(help="As in running.")] = None,
    model: Annotated[str | None, typer.Option(help="As in mlp.")] = None,
    name: Annotated[str | None, typer.Option(help="The name of the jobs.")] = None,
    labels: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="Repeatable.")
    ] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """List jobs."""
    chosen = dict(label.partition("=")[::2] for label in labels or [])
    found = open_client(ctx).jobs.list(
        status=status, model=model, name=name, labels=chosen, limit=limit
    )
    jobs = list(found)
    if as_json:
        return print_json(jobs)
    print_rows(
        ["ID", "NAME", "MODEL", "STATUS", "STEP", "CREATED"],
        [
            [
                j["id"],
                j["name"],
                j["model"],
                j["status"],
                describe_steps(j["progress"]),
                show_time(j["created_at"]),
            ]
            for j in jobs
        ],
    )


@app.command("show")
def show_job(ctx: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Show a job."""
    job = open_client(ctx).jobs.get(job_id)
    print_json(job) if as_json else show_fields(job)


@app.command("watch")
def watch(ctx: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Show a job until it ends. Exit code 3: it did not succeed."""
    follow_job(open_client(ctx), job_id, as_json)


@app.command("cancel")
def cancel_job(ctx: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Stop a job for good. Its checkpoints stay."""
    answer(open_client(ctx).jobs.cancel(job_id), as_json)


@app.command("pause")
def pause_job(ctx: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Save a job and free its place."""
    answer(open_client(ctx).jobs.pause(job_id), as_json)


@app.command("resume")
def resume_job(ctx: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Let a paused job go on."""
    answer(open_client(ctx).jobs.resume(job_id), as_json)


@app.command("retry")
def retry_job(
    ctx: typer.Context,
    job_id: JobId,
    start: Annotated[
        Start, typer.Option("--from", help="Begin anew, or at a checkpoint of the job.")
    ] = Start.SCRATCH,
    as_json: AsJson = False,
) -> None:
    """Queue a new job from the spec of one that has ended."""
    answer(open_client(ctx).jobs.retry(job_id, start.value), as_json)


@app.command("delete")
def delete_job(ctx: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Delete a job that has ended, with its metrics and checkpoints."""
    open_client(ctx).jobs.delete(job_id)
    print_json({"id": job_id, "deleted": True}) if as_json else note(f"deleted {job_id}")


@app.command("logs")
def show_logs(ctx: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Print what the training process printed."""
    text = open_client(ctx).jobs.logs(job_id)
    print_json({"lines": text.splitlines()}) if as_json else typer.echo(text, nl=False)


@app.command("evaluation")
def get_evaluation(ctx: typer.Context, job_id: JobId, as_json: AsJson = False) -> None:
    """Show how good the trained model is, beside a trivial one."""
    evaluation = open_client(ctx).jobs.evaluation(job_id)
    print_json(evaluation) if as_json else show_evaluation(evaluation)


@app.command("explanations")
def get_explanations(
    ctx: typer.Context,
    job_id: JobId,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A folder: download them there.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the files that explain predictions of a job's model, or download them, verified."""
    client = open_client(ctx)
    files = client.jobs.explanations(job_id)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        for file in files:
            name = Path(file["name"]).name
            client.jobs.download_explanation(job_id, file["name"], output / name)
    if as_json:
        return print_json(files)
    print_rows(
        ["NAME", "TYPE", "BYTES", "SHA256"],
        [(file["name"], file["type"], file["size_bytes"], file["sha256"]) for file in files],
    )


@app.command("metrics")
def show_series(
    ctx: typer.Context,
    job_id: JobId,
    names: Annotated[list[str] | None, typer.Argument(help="As in train/loss.")] = None,
    points: Annotated[int | None, typer.Option(min=10, help="At most so many each.")] = None,
    plot: Annotated[bool, typer.Option("--plot", help="Draw them.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the metrics of a job: the last value and the range of each, or every point."""
    series = open_client(ctx).jobs.metrics(job_id, *(names or []), points=points)
    if as_json:
        return print_json({"series": series})
    if plot:
        curves = {one["name"]: one["points"] for one in series}
        return make_console().print(draw_plot(curves), soft_wrap=True)
    filled = [(one["name"], one["points"]) for one in series if one["points"]]
    print_rows(
        ["NAME", "POINTS", "LAST", "MIN", "MAX"],
        [
            (name, len(p), p[-1][1], min(v for _, v in p), max(v for _, v in p))
            for name, p in filled
        ],
    )


def follow_job(client: Trainsmith, job_id: str, as_json: bool) -> None:
    try:
        job = print_events(client, job_id) if as_json else watch_job(client, job_id, make_console())
    except KeyboardInterrupt:
        note(f"{job_id} goes on. Stop it with: trainsmith jobs cancel {job_id}")
        raise typer.Exit(INTERRUPTED) from None
    if job["status"] != "succeeded":
        raise typer.Exit(NOT_SUCCEEDED)


def print_events(client: Trainsmith, job_id: str) -> Job:
    """One event per line, then the job."""
    for event in client.jobs.stream(job_id):
        print_json_line(event)
    job = client.jobs.get(job_id)
    print_json_line(job)
    return job


def answer(job: Job, as_json: bool) -> None:
    if as_json:
        return print_json(job)
    requested = f" ({job['requested']} requested)" if job["requested"] else ""
    typer.echo(f"{job['id']} {job['status']}{requested}")


def show_fields(job: Job) -> None:
    error: dict[str, Any] = {**(job["error"] or {})}
    print_fields(
        [
            ("id", job["id"]),
            ("name", job["name"]),
            ("model", job["model"]),
            ("status", job["status"]),
            ("phase", job["phase"]),
            ("queue position", job["queue_position"]),
            ("requested", job["requested"]),
            ("reason", job["reason"]),
            ("error", error.get("message")),
            ("hint", error.get("hint")),
            ("progress", describe_progress(job["progress"])),
            ("attempt", job["attempt"]),
            ("created", show_time(job["created_at"])),
            ("started", show_time(job["started_at"])),
            ("finished", show_time(job["finished_at"])),
        ]
    )
