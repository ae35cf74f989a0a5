"""`trainsmith-server`: run the product, and what only its operator may do."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from app.auth import SCOPES
from app.config import Settings, get_settings
from app.db import transaction
from app.embedded import EmbeddedError, EmbeddedPostgres, FolderInUse
from app.errors import AppError, NotFound
from app.migrate import upgrade
from app.programs import api_command, child_env, worker_command
from app.projects import service as projects
from app.projects.tables import ApiKey, Project
from app.retention.sweep import SweepRuns, sweep
from app.stack import DEFAULT_PROJECT, StackError, run_stack

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
keys = typer.Typer(no_args_is_help=True, help="API keys.")
app.add_typer(keys, name="keys")
projects_app = typer.Typer(no_args_is_help=True, help="Projects: who sees which jobs.")
app.add_typer(projects_app, name="projects")

Host = Annotated[str | None, typer.Option(help="Address to listen on. [127.0.0.1]")]
Port = Annotated[int | None, typer.Option(help="0 picks a free one. [8700]")]
Slots = Annotated[
    int | None, typer.Option("--workers", "--slots", help="Jobs that train at a time. [1]")
]
Home = Annotated[Path | None, typer.Option(help="The data folder. [./.trainsmith]")]


@app.command()
def up(host: Host = None, port: Port = None, workers: Slots = None, home: Home = None) -> None:
    """Run everything: databases (unless configured), migrations, API and worker."""
    configure(host=host, port=port, slots=workers, home=home)
    run_stack()


@app.command()
def api(host: Host = None, port: Port = None) -> None:
    """Run the API alone, on the servers that the environment names."""
    settings = configure(host=host, port=port)
    replace_process(api_command(settings.host, settings.port))


@app.command()
def worker(workers: Slots = None) -> None:
    """Run a worker alone, on the servers that the environment names."""
    replace_process(worker_command(configure(slots=workers).slots))


@app.command()
def migrate(home: Home = None) -> None:
    """Bring the database to the newest schema."""
    configure(home=home)
    with open_database():
        upgrade()
    typer.echo("the database has the newest schema")


@app.command("sweep")
def run_sweep(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show it, remove nothing.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Read every checkpoint.")] = False,
    home: Home = None,
) -> None:
    """Remove what has expired or was left behind; name what is listed but not on disk.

    Exit code 1: something is missing or, with --verify, damaged.
    """
    configure(home=home)
    with open_database():
        swept = sweep(dry_run, verify)
    for kind in ("jobs", "datasets", "orphans", "missing"):
        for name in getattr(swept, kind):
            typer.echo(f"{kind} {name}")
    verb = "would free" if dry_run else "freed"
    typer.echo(f"{verb} {swept.size_bytes:,} bytes")
    if swept.missing:
        raise typer.Exit(1)


@app.command()
def config() -> None:
    """Show the settings in effect, and where each can be changed."""
    settings = configure()
    for name, field in type(settings).model_fields.items():
        note = f"  # {field.description}" if field.description else ""
        typer.echo(f"TRAINSMITH_{name.upper()}={getattr(settings, name)}{note}")


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    project: Annotated[str, typer.Option(help="Name of the project.")] = DEFAULT_PROJECT,
    scope: Annotated[list[str] | None, typer.Option(help="read, write or admin. [write]")] = None,
    home: Home = None,
) -> None:
    """Create an API key and print it: it is stored nowhere else."""
    scopes = scope or ["write"]
    for each in scopes:
        if each not in SCOPES:
            raise typer.BadParameter(f"{each} is none of {', '.join(SCOPES)}")
    configure(home=home)
    with open_database(), transaction() as session:
        row, key = projects.create_key(session, find_project(session, project), name, scopes)
    typer.echo(f"{row.id} {key}")


def find_project(session: Session, name: str) -> str:
    """The id. The default project is made when it is first wanted."""
    project_id = session.scalar(select(Project.id).where(Project.name == name))
    if project_id is None and name == DEFAULT_PROJECT:
        return projects.create_project(session, name).id
    if project_id is None:
        raise NotFound(f"There is no project {name!r}.")
    return project_id


@keys.command("list")
def list_keys(home: Home = None) -> None:
    configure(home=home)
    with open_database(), transaction() as session:
        query = select(ApiKey, Project.name).join(Project, Project.id == ApiKey.project_id)
        for key, project in session.execute(query.order_by(ApiKey.id)):
            state = "revoked" if key.revoked_at else "active"
            typer.echo(f"{key.id} {project} {','.join(key.scopes)} {state} {key.name}")


@keys.command("revoke")
def revoke_key(key_id: str, home: Home = None) -> None:
    """End a key at once."""
    configure(home=home)
    with open_database(), transaction() as session:
        project_id = session.scalar(select(ApiKey.project_id).where(ApiKey.id == key_id))
        projects.revoke_key(session, project_id or "", key_id)
    typer.echo(f"{key_id} is revoked")


@projects_app.command("create")
def create_project(name: str, home: Home = None) -> None:
    configure(home=home)
    with open_database(), transaction() as session:
        project = projects.create_project(session, name)
        typer.echo(f"{project.id} {name}")


@projects_app.command("limit")
def limit_project(
    name: str,
    max_queued: Annotated[int | None, typer.Option(min=0, help="Jobs that may wait.")] = None,
    max_running: Annotated[
        int | None, typer.Option(min=1, help="Jobs that may run at a time.")
    ] = None,
    home: Home = None,
) -> None:
    """Cap the jobs of a project. A cap that is not named is lifted."""
    configure(home=home)
    with open_database(), transaction() as session:
        projects.limit_project(session, name, max_queued, max_running)
    queued, running = ("no cap" if cap is None else str(cap) for cap in (max_queued, max_running))
    typer.echo(f"{name}: queued {queued}, running {running}")


@contextmanager
def open_database() -> Iterator[None]:
    """The configured server, or the embedded one: the running one, or one just for now."""
    settings = get_settings()
    if settings.database_url is not None:
        yield
        return
    postgres = EmbeddedPostgres(settings.home)
    try:
        url = postgres.start()
        ours = True
    except FolderInUse:
        url, ours = postgres.url, False
    try:
        configure(database_url=url)
        if ours:
            upgrade()
        yield
    finally:
        if ours:
            postgres.stop()


def configure(**options: object) -> Settings:
    """Options of the command line are settings like any other, and reach child processes."""
    for name, value in options.items():
        if value is not None:
            os.environ[f"TRAINSMITH_{name.upper()}"] = str(value)
    get_settings.cache_clear()
    return get_settings()


def replace_process(command: list[str]) -> None:
    os.execve(command[0], command, child_env())  # noqa: S606  no shell is wanted


def describe(error: Exception) -> str:
    """One line for people."""
    if isinstance(error, ValidationError):
        problems = (
            f"TRAINSMITH_{'_'.join(map(str, problem['loc'])).upper()}: {problem['msg']}"
            for problem in error.errors(include_input=False)
        )
        return "; ".join(problems)
    if isinstance(error, OperationalError):
        return f"the database does not answer: {str(error.orig).strip().splitlines()[0]}"
    if isinstance(error, ProgrammingError):
        return f"the database has another schema (run `trainsmith-server migrate`?): {error.orig}"
    return str(error)


def main() -> None:
    expected = (AppError, EmbeddedError, StackError, SweepRuns, ValidationError, OSError)
    try:
        app()
    except (*expected, OperationalError, ProgrammingError) as error:
        typer.echo(f"error: {describe(error)}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
