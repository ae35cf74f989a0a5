"""The embedded servers, against the real binaries."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis

from app.embedded import EmbeddedError, EmbeddedPostgres, EmbeddedRedis, FolderInUse
from app.embedded.folders import can_reach
from app.processes import find_processes

OWNER = """
import sys, time
from pathlib import Path
from app.embedded import EmbeddedError, EmbeddedPostgres, EmbeddedRedis
servers = [EmbeddedPostgres(Path(sys.argv[1])), EmbeddedRedis(Path(sys.argv[1]))]
print([server.start() for server in servers], flush=True)
time.sleep(600)
"""


@pytest.fixture
def parent() -> Iterator[Path]:
    """A folder in which every account may pass, as in a home that was made for this."""
    folder = Path(tempfile.mkdtemp(prefix="ts-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def home(parent: Path) -> Path:
    return parent / "home"


@pytest.fixture
def postgres(home: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(home)
    yield server
    server.remove()


def run_sql(url: str, *statements: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements[:-1]:
            connection.execute(statement)
        return connection.execute(statements[-1]).fetchall()


def start_owner(home: Path) -> subprocess.Popen[str]:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(home)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert owner.stdout is not None
    assert owner.stdout.readline()
    return owner


def wait_until_gone(*processes: psutil.Process) -> None:
    _, alive = psutil.wait_procs(processes, timeout=30)
    assert not alive


def test_data_survives_a_restart(postgres: EmbeddedPostgres) -> None:
    run_sql(postgres.start(), "CREATE TABLE kept AS SELECT 42 AS answer", "SELECT 1")
    postgres.stop()
    assert run_sql(postgres.start(), "SELECT answer FROM kept") == [(42,)]


def test_what_is_acknowledged_is_on_the_disk(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    for name in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums"):
        assert run_sql(postgres.url, f"SHOW {name}") == [("on",)], name


def test_a_killed_postgres_recovers_on_the_next_start(postgres: EmbeddedPostgres) -> None:
    run_sql(postgres.start(), "CREATE TABLE kept AS SELECT 42 AS answer", "SELECT 1")
    assert postgres.process is not None
    postgres.process.send_signal(signal.SIGKILL)
    postgres.process.wait()
    assert run_sql(postgres.start(), "SELECT answer FROM kept") == [(42,)]


def test_nothing_listens_on_tcp(postgres: EmbeddedPostgres, home: Path) -> None:
    server = EmbeddedRedis(home)
    postgres.start()
    with redis.Redis.from_url(server.start()) as client:
        assert client.config_get("port") == {"port": "0"}
    for each in (postgres, server):
        assert each.process is not None
        assert psutil.Process(each.process.pid).net_connections("inet") == []
    server.stop()


def test_only_the_owner_may_connect(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    assert postgres.folder.stat().st_mode & 0o777 == 0o700
    assert postgres.data.stat().st_mode & 0o777 == 0o700
    assert (postgres.data / "pg_hba.conf").read_text() == "local all all peer map=owner\n"


def test_servers_die_with_a_killed_owner(home: Path, postgres: EmbeddedPostgres) -> None:
    owner = start_owner(home)
    servers = psutil.Process(owner.pid).children()
    assert sorted(server.name() for server in servers) == ["postgres", "redis-server"]
    owner.kill()
    owner.wait()
    wait_until_gone(*servers)


def test_a_start_sweeps_what_a_predecessor_left(home: Path, postgres: EmbeddedPostgres) -> None:
    postgres.start()
    postgres.stop()
    stray = subprocess.Popen(  # no death signal: it outlives whoever started it
        [str(part) for part in postgres._command()], **_as_server(postgres)
    )
    wait_for(lambda: find_processes("postgres", postgres.marker))
    assert run_sql(postgres.start(), "SELECT 1") == [(1,)]
    assert stray.wait(timeout=30) == 0


def test_a_reused_pid_does_not_block_the_start(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    postgres.stop()
    (postgres.data / "postmaster.pid").write_text(f"{os.getpid()}\n")
    assert run_sql(postgres.start(), "SELECT 1") == [(1,)]


def test_a_second_owner_is_refused(postgres: EmbeddedPostgres, home: Path) -> None:
    url = postgres.start()
    with pytest.raises(FolderInUse, match=rf"in use by process {os.getpid()}: stop that one"):
        EmbeddedPostgres(home).start()
    assert run_sql(url, "SELECT 1") == [(1,)]


def test_a_long_path_gets_short_sockets_which_go_again(parent: Path) -> None:
    home = parent / ("long" * 30)
    postgres, server = EmbeddedPostgres(home), EmbeddedRedis(home)
    assert run_sql(postgres.start(), "SELECT 1") == [(1,)]
    with redis.Redis.from_url(server.start()) as client:
        assert client.ping()
    folders = [postgres.folder, server.folder]
    assert all(not folder.is_relative_to(home) for folder in folders)
    assert all(folder.stat().st_mode & 0o777 == 0o700 for folder in folders)
    server.stop()
    postgres.remove()
    assert not any(folder.exists() for folder in folders)


def test_spaces_in_the_path_do_no_harm(parent: Path) -> None:
    home = parent / "my data, 50 %"
    postgres, server = EmbeddedPostgres(home), EmbeddedRedis(home)
    assert run_sql(postgres.start(), "SELECT 1") == [(1,)]
    with redis.Redis.from_url(server.start()) as client:
        assert client.ping()
    server.stop()
    postgres.remove()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs it as somebody else")
def test_a_private_folder_of_root_stays_private(parent: Path) -> None:
    private = parent / "private"
    private.mkdir(mode=0o700)
    home = private / "home"
    postgres = EmbeddedPostgres(home)
    run_sql(postgres.start(), "CREATE TABLE kept AS SELECT 42 AS answer", "SELECT 1")
    account = postgres._account()
    assert account is not None
    assert not can_reach(home, account)
    assert private.stat().st_mode & 0o777 == 0o700
    assert not postgres.data.is_relative_to(home)
    postgres.stop()
    again = EmbeddedPostgres(home)
    assert run_sql(again.start(), "SELECT answer FROM kept") == [(42,)]
    place = again.place
    again.remove()
    assert not place.exists()


def test_a_failed_start_says_why_and_leaves_nothing(postgres: EmbeddedPostgres) -> None:
    postgres.start()
    postgres.stop()
    (postgres.data / "postgresql.conf").write_text("no_such_setting = on\n")
    with pytest.raises(EmbeddedError, match="postgres ended at once with status 1: ") as caught:
        postgres.start()
    assert "\n" not in str(caught.value)
    assert find_processes("postgres", postgres.marker) == []


def _as_server(postgres: EmbeddedPostgres) -> dict[str, object]:
    account = postgres._account()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if account is None:
        return quiet
    return {"user": account[0], "group": account[1], "extra_groups": []} | quiet


def wait_for(condition: object) -> None:
    deadline = time.monotonic() + 20
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)
