from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update
from typer.testing import CliRunner

from app import cli
from app.config import get_settings
from app.db import transaction
from app.ids import new_id
from app.jobs.clock import now
from app.projects.tables import Project
from app.retention import sweep as sweeping
from app.retention.sweep import Sweeper, SweepRuns, sweep
from app.storage import checkpoint_key, dataset_key, get_path, get_root, job_key
from tests.app.retention.conftest import (
    add_checkpoint,
    add_dataset,
    age,
    end_job,
    start_job,
    write,
)
from tests.factories import Account


def list_files() -> set[str]:
    found = (path for path in get_root().rglob("*") if path.is_file())
    return {str(path.relative_to(get_root())) for path in found}


def make_orphans(project_id: str) -> list[Path]:
    """One of each kind, all old, beside things that are listed."""
    lease = start_job(project_id, add_dataset(project_id))
    add_checkpoint(lease, 10)
    attempt = get_path(job_key(end_job(lease))) / "a1"
    write(attempt / "downloads" / f"s10-model-{'0' * 64}.safetensors")
    write(attempt / "bundle" / "predict.py")
    write(attempt / "request.json")
    orphans = [
        get_path(job_key(new_id("job"))),
        get_path(dataset_key(new_id("ds"))),
        attempt / "s20",
        attempt / ".s30.0badcafe.tmp",
        attempt.with_name("a0"),
    ]
    for folder in orphans:
        write(folder / "a file")
    download = write(attempt / "downloads" / f"s20-model-{'0' * 64}.safetensors")
    age(get_root())
    return [*orphans, download]


def test_what_no_row_speaks_of_is_removed_and_nothing_else(account: Account) -> None:
    orphans = make_orphans(account.project_id)
    listed = {
        name
        for name in list_files()
        if not any((get_root() / name).is_relative_to(orphan) for orphan in orphans)
    }

    assert set(sweep(dry_run=True).orphans) == {str(p.relative_to(get_root())) for p in orphans}
    swept = sweep()

    assert len(swept.orphans) == len(orphans)
    assert swept.size_bytes == 4 * len(orphans)
    assert list_files() == listed
    assert swept.missing == []
    assert sweep().orphans == []


def test_what_is_younger_than_an_hour_stays(account: Account) -> None:
    orphans = make_orphans(account.project_id)
    for orphan in orphans:
        age(orphan, hours=0.9)
    assert sweep().orphans == []


def test_a_running_attempt_is_left_in_peace(account: Account) -> None:
    lease = start_job(account.project_id, add_dataset(account.project_id))
    key = checkpoint_key(lease.job_id, lease.attempt, 10)
    write(get_path(key) / "model.safetensors")
    write(get_path(checkpoint_key(lease.job_id, 0, 5)) / "model.safetensors")
    age(get_root())
    assert sweep().orphans == []
    end_job(lease)
    assert len(sweep().orphans) == 2


def test_what_is_older_than_the_database_may_be_another_ones(account: Account) -> None:
    make_orphans(account.project_id)
    with transaction() as session:
        session.execute(update(Project).values(created_at=now()))
    assert sweep().orphans == []


def test_links_and_strange_names_are_not_touched(account: Account, tmp_path: Path) -> None:
    outside = write(tmp_path / "job" / "a file")
    jobs = get_path("jobs")
    jobs.mkdir(parents=True)
    (jobs / new_id("job")).symlink_to(outside.parent)
    write(jobs / "notes" / "a file")
    age(jobs)
    assert sweep().orphans == []
    assert outside.exists()


def test_a_download_goes_on_while_its_job_is_swept(account: Account) -> None:
    (orphan, *_) = make_orphans(account.project_id)
    with (orphan / "a file").open("rb") as file:
        sweep()
        assert not orphan.exists()
        assert file.read() == b"1234"


# ---------------------------------------------------------------- rows without files


def test_rows_without_files_are_named(account: Account) -> None:
    dataset_id = add_dataset(account.project_id)
    lease = start_job(account.project_id, dataset_id)
    gone, cut, _ = (add_checkpoint(lease, step) for step in (10, 20, 30))
    folder = get_path(job_key(lease.job_id)) / "a1"
    (folder / "s10" / "model.safetensors").unlink()
    (folder / "s20" / "state.safetensors").write_bytes(b"1")
    (get_path(dataset_key(dataset_id)) / "table.parquet").unlink()
    assert sweep().missing == [gone, cut, dataset_id]


def test_a_flipped_byte_is_found_by_its_digest(account: Account) -> None:
    lease = start_job(account.project_id, add_dataset(account.project_id))
    damaged = add_checkpoint(lease, 10)  # its bytes are not those of the digest in its row
    assert sweep().missing == []
    assert sweep(verify=True).missing == [damaged]


# ---------------------------------------------------------------- when it runs


def test_one_sweep_runs_at_a_time(account: Account) -> None:
    with sweeping._take_turn(), pytest.raises(SweepRuns):
        sweep()
    sweep()


def test_the_sweep_comes_round_once_an_hour_whoever_makes_it(account: Account) -> None:
    orphans = make_orphans(account.project_id)
    Sweeper().act()
    assert not any(path.exists() for path in orphans)
    orphans = make_orphans(account.project_id)
    get_root().joinpath("swept").touch()
    Sweeper().act()
    assert all(path.exists() for path in orphans)
    age(get_root() / "swept", hours=get_settings().sweep_seconds / 3600 + 0.1)
    Sweeper().act()
    assert not any(path.exists() for path in orphans)


def test_a_sweeper_stops_when_told_to(client: TestClient) -> None:
    sweeper = Sweeper()
    sweeper.start()
    sweeper.stop()
    assert not sweeper.is_alive()


# ---------------------------------------------------------------- the command


def test_the_command_shows_then_removes_then_finds_nothing(account: Account) -> None:
    orphans = make_orphans(account.project_id)

    shown = CliRunner().invoke(cli.app, ["sweep", "--dry-run"])
    assert shown.exit_code == 0
    assert shown.stdout.count("orphans ") == len(orphans)
    assert "would free 24 bytes" in shown.stdout
    assert "freed 24 bytes" in CliRunner().invoke(cli.app, ["sweep"]).stdout
    assert CliRunner().invoke(cli.app, ["sweep"]).stdout == "freed 0 bytes\n"


def test_the_command_fails_when_something_is_damaged(account: Account) -> None:
    lease = start_job(account.project_id, add_dataset(account.project_id))
    damaged = add_checkpoint(lease, 10)
    assert CliRunner().invoke(cli.app, ["sweep"]).exit_code == 0
    found = CliRunner().invoke(cli.app, ["sweep", "--verify"])
    assert found.exit_code == 1
    assert f"missing {damaged}" in found.stdout
