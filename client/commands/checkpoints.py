"""`trainsmith checkpoints …`"""

from pathlib import Path
from typing import Annotated

import typer

from client.answers import Checkpoint
from client.commands.options import AsJson, JobId, Limit, open_client
from client.errors import TrainsmithError
from client.output import print_json, print_rows, show_metrics, show_time
from client.trainsmith import Trainsmith

CheckpointId = Annotated[
    str, typer.Argument(metavar="CHECKPOINT", help="The id of the checkpoint (ckpt_…).")
]

app = typer.Typer(no_args_is_help=True, help="Saved states of a job, and bundles made of them.")
SUFFIXES = {"bundle": ".zip", "safetensors": ".safetensors"}


@app.command("list")
def list_checkpoints(
    ctx: typer.Context, job_id: JobId, limit: Limit = 50, as_json: AsJson = False
) -> None:
    """List the checkpoints of a job."""
    checkpoints = list(open_client(ctx).checkpoints.list(job_id, limit))
    if as_json:
        return print_json(checkpoints)
    print_rows(
        ["ID", "STEP", "EPOCH", "BEST", "CREATED", "METRICS"],
        [
            [
                c["id"],
                c["step"],
                c["epoch"],
                c["best"],
                show_time(c["created_at"]),
                show_metrics(c["metrics"]),
            ]
            for c in checkpoints
        ],
    )


@app.command("pin")
def pin_checkpoint(ctx: typer.Context, id: CheckpointId, as_json: AsJson = False) -> None:
    """Keep a checkpoint, and its job, whatever else is pruned or expires."""
    answer(open_client(ctx).checkpoints.pin(id), as_json)


@app.command("unpin")
def unpin_checkpoint(ctx: typer.Context, id: CheckpointId, as_json: AsJson = False) -> None:
    """Let a checkpoint go its way again."""
    answer(open_client(ctx).checkpoints.unpin(id), as_json)


def answer(checkpoint: Checkpoint, as_json: bool) -> None:
    if as_json:
        return print_json(checkpoint)
    typer.echo(f"{checkpoint['id']} {'pinned' if checkpoint['pinned'] else 'not pinned'}")


@app.command("download")
def download_checkpoint(
    ctx: typer.Context,
    id: Annotated[str, typer.Argument(help="A checkpoint, or a job: then its best checkpoint.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file or a folder.")] = (
        None
    ),
    format: Annotated[str, typer.Option(help="bundle or safetensors.")] = "bundle",
    as_json: AsJson = False,
) -> None:
    """Download a checkpoint, verified. An interrupted download goes on where it stopped."""
    client = open_client(ctx)
    checkpoint_id = find_best(client, id) if id.startswith("job_") else id
    path = choose_path(output, checkpoint_id, format)
    sha256 = client.checkpoints.download(checkpoint_id, path, format)
    size = path.stat().st_size
    if as_json:
        answer = {"id": checkpoint_id, "path": str(path), "sha256": sha256, "size_bytes": size}
        return print_json(answer)
    typer.echo(f"{path} ({size:,} bytes, sha256 {sha256} verified)")


def find_best(client: Trainsmith, job_id: str) -> str:
    checkpoint = client.checkpoints.best(job_id)
    if checkpoint is None:
        raise TrainsmithError(f"{job_id} has no checkpoint yet")
    return checkpoint["id"]


def choose_path(output: Path | None, checkpoint_id: str, format: str) -> Path:
    name = checkpoint_id + SUFFIXES.get(format, "")
    if output is None:
        return Path(name)
    return output / name if output.is_dir() else output
