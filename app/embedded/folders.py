"""Folders: who may enter them, and never more than that."""

import os
import stat
from pathlib import Path

from app.embedded.errors import EmbeddedError

SOCKET_PATH_BYTES = 107  # sun_path, less its closing zero

Account = tuple[int, int]  # uid, gid


def make_home(home: Path) -> None:
    """Create the data folder. For root, the account of the server may pass through it."""
    if home.exists():
        return
    make_folder(home, 0o711 if os.geteuid() == 0 else 0o700)


def make_folder(folder: Path, mode: int) -> None:
    """Create a folder with exactly this mode. One that exists keeps the mode it has."""
    if not folder.exists():
        folder.mkdir(parents=True)
        folder.chmod(mode)


def make_private(folder: Path, owner: Account) -> None:
    """A folder that only `owner` can enter, or an EmbeddedError: the name may be guessable."""
    try:
        folder.mkdir(mode=0o700)
        os.chown(folder, *owner)
    except FileExistsError:
        status = folder.lstat()
        private = stat.S_ISDIR(status.st_mode) and stat.S_IMODE(status.st_mode) & 0o077 == 0
        if not private or status.st_uid != owner[0]:
            raise EmbeddedError(
                f"{folder} must be a folder of uid {owner[0]} with mode 700: remove it"
            ) from None


def can_reach(path: Path, account: Account) -> bool:
    """May `account` pass through every folder above `path`, and through `path` itself?"""
    return all(_may_pass(folder.stat(), account) for folder in (path, *path.resolve().parents))


def _may_pass(status: os.stat_result, account: Account) -> bool:
    uid, gid = account
    if status.st_uid == uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def let_all_read(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        mode = path.stat().st_mode
        path.chmod(mode | (0o555 if mode & stat.S_IXUSR else 0o444))


def write_private(file: Path, text: str, owner: Account) -> None:
    """Readers find the whole text or no file, and others never any of it."""
    draft = file.with_name(f".{file.name}.tmp")
    draft.unlink(missing_ok=True)
    draft.touch(0o600, exist_ok=False)
    os.chown(draft, *owner)
    draft.write_text(text)
    draft.replace(file)


def fits_socket(path: Path) -> bool:
    return len(os.fsencode(path)) <= SOCKET_PATH_BYTES
