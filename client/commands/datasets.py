"""`trainsmith datasets …`"""

from pathlib import Path
from typing import Annotated, Any

import typer

from client.answers import Column, Dataset
from client.commands.options import AsJson, Limit, open_client
from client.output import note, print_fields, print_json, print_rows, show, show_time

app = typer.Typer(no_args_is_help=True, help="What there is to train on.")
FORMATS = "csv, tsv, jsonl, parquet, text, npz, idx or images. Default: guessed."
DatasetId = Annotated[str, typer.Argument(metavar="DATASET", help="The id (ds_…).")]


@app.command("upload")
def upload_dataset(
    ctx: typer.Context,
    path: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
    name: Annotated[str | None, typer.Option(help="Default: the file's name.")] = None,
    format: Annotated[str | None, typer.Option(help=FORMATS)] = None,
    as_json: AsJson = False,
) -> None:
    """Upload a table (CSV, TSV, JSON Lines, Parquet), plain text, a zip or tar of pictures, or
    arrays (NPZ, IDX)."""
    dataset = open_client(ctx).datasets.upload(path, name, format)
    print_json(dataset) if as_json else show_dataset(dataset)


@app.command("list")
def list_datasets(ctx: typer.Context, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List datasets."""
    datasets = list(open_client(ctx).datasets.list(limit))
    if as_json:
        return print_json(datasets)
    print_rows(
        ["ID", "NAME", "ROWS", "COLUMNS", "CREATED"],
        [
            (d["id"], d["name"], d["rows"], len(d["columns"]), show_time(d["created_at"]))
            for d in datasets
        ],
    )


@app.command("show")
def get_dataset(
    ctx: typer.Context,
    dataset_id: DatasetId,
    preview: Annotated[bool, typer.Option("--preview", help="The first rows.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show a dataset and what was found in its columns."""
    datasets = open_client(ctx).datasets
    if not preview:
        dataset = datasets.get(dataset_id)
        return print_json(dataset) if as_json else show_dataset(dataset)
    rows = datasets.preview(dataset_id)
    if as_json:
        return print_json(rows)
    print_rows(rows["columns"], [[describe_cell(cell) for cell in row] for row in rows["rows"]])


@app.command("delete")
def delete_dataset(ctx: typer.Context, dataset_id: DatasetId, as_json: AsJson = False) -> None:
    """Delete a dataset that no job uses."""
    open_client(ctx).datasets.delete(dataset_id)
    print_json({"id": dataset_id, "deleted": True}) if as_json else note(f"deleted {dataset_id}")


def show_dataset(dataset: Dataset) -> None:
    print_fields(
        [
            ("id", dataset["id"]),
            ("name", dataset["name"]),
            ("format", dataset["format"]),
            ("rows", dataset["rows"]),
            ("sha256", dataset["sha256"]),
            ("created", show_time(dataset["created_at"])),
        ]
    )
    typer.echo()
    print_rows(
        ["COLUMN", "KIND", "MISSING", "DISTINCT", "SIZE"],
        [
            (c["name"], c["kind"], c["missing"], c["distinct"], describe_size(c))
            for c in dataset["columns"]
        ],
    )


def describe_size(column: Column) -> str:
    """Of pictures and sequences, as in `32 x 32, colour`; empty for other kinds."""
    if image := column.get("image"):
        height = describe_range(image["height_min"], image["height_max"])
        width = describe_range(image["width_min"], image["width_max"])
        return f"{height} x {width}, {'colour' if image['channels'] == 3 else 'grey'}"
    if steps := column.get("sequence"):
        length = describe_range(steps["steps_min"], steps["steps_max"])
        return f"{length} steps of {steps['width']}"
    return ""


def describe_range(least: int, most: int) -> str:
    return str(most) if least == most else f"{least}-{most}"


def describe_cell(cell: Any) -> Any:
    """A picture by its name and size; of a sequence the steps that the server shows."""
    match cell:
        case {"name": name, "height": height, "width": width}:
            return f"{name or 'picture'} ({height} x {width})"
        case [[_], *_]:
            return f"[{', '.join(show(step[0]) for step in cell)}, …]"
        case [[*_], *_]:
            steps = (" ".join(show(number) for number in step) for step in cell)
            return f"[{'; '.join(steps)}; …]"
        case _:
            return cell
