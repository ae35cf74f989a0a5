"""What the commands share: the server they talk to and the options that look the same."""

from typing import Annotated

import typer

from client.trainsmith import Trainsmith

AsJson = Annotated[bool, typer.Option("--json", help="Print the API's JSON.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, help="How many, newest first.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The id of the job (job_…).")]


def open_client(ctx: typer.Context) -> Trainsmith:
    """A client that is closed when the command ends."""
    client = Trainsmith(url=ctx.find_root().params.get("url"))
    ctx.call_on_close(client.close)
    return client
