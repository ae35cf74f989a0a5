"""The command `trainsmith`.

Exit codes: 0 fine, 1 the server or the network said no, 2 the command line is wrong,
3 a watched job did not succeed.
"""

import errno
import sys
from collections import Counter
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from client.commands import checkpoints, datasets, jobs
from client.commands.options import AsJson, open_client
from client.errors import TrainsmithError
from client.output import note, print_fields, print_json, print_rows


class Commands(TyperGroup):
    """Shows an expected failure as one line."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except TrainsmithError as error:
            note(f"trainsmith: {error}")
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            note(f"trainsmith: {error}")
        raise typer.Exit(1)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train models on a Trainsmith server.",
)
app.add_typer(datasets.app, name="datasets")
app.add_typer(jobs.app, name="jobs")
app.add_typer(checkpoints.app, name="checkpoints")


@app.callback()
def set_up(
    url: Annotated[
        str | None,
        typer.Option(help="The server. Default: TRAINSMITH_URL, else the one that runs here."),
    ] = None,
) -> None:
    """The API key is read from TRAINSMITH_API_KEY, else from the data folder."""


@app.command("models")
def show_models(
    ctx: typer.Context,
    type: Annotated[str | None, typer.Argument(metavar="[TYPE]", help="As in mlp.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the model families, or show the fields of one."""
    models = open_client(ctx).models
    if type is None:
        catalogue = models.catalogue()
        if as_json:
            return print_json(catalogue)
        rows = [
            (f["type"], ", ".join(f["tasks"]), ", ".join(f["takes"]), f["description"])
            for f in catalogue["data"]
        ]
        return print_rows(["TYPE", "TASKS", "READS", "DESCRIPTION"], rows)
    family = models.get(type)
    print_json(family) if as_json else show_family(family)


@app.command("status")
def show_status(ctx: typer.Context, as_json: AsJson = False) -> None:
    """Show whether the server is ready, and what it is doing."""
    client = open_client(ctx)
    readiness = client.ready()
    ready = readiness["status"] == "ok"
    latest = Counter(job["status"] for job in client.jobs.list(limit=100)) if ready else Counter()
    if as_json:
        print_json({"url": client.url, **readiness, "latest_jobs": latest})
    else:
        counts = ", ".join(f"{count} {status}" for status, count in latest.items())
        fields = [("server", client.url), ("status", readiness["status"])]
        print_fields([*fields, *readiness["checks"].items(), ("latest jobs", counts or "none")])
    if not ready:
        raise typer.Exit(1)


def show_family(family: dict[str, Any]) -> None:
    print_fields([("type", family["type"]), ("tasks", ", ".join(family["tasks"]))])
    typer.echo(f"\n{family['description']}\n")
    fields = family["schema"]["properties"].items()
    print_rows(
        ["FIELD", "DEFAULT", "DESCRIPTION"],
        [(name, field.get("default"), field.get("description", "")) for name, field in fields],
    )


def main() -> None:
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without our characters shows "?"
    app()


if __name__ == "__main__":
    main()
