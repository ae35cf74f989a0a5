"""Calls to the kernel, for which Python has no function, that keep a tree of processes together."""

import ctypes
import signal

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(death_signal: signal.Signals = signal.SIGKILL) -> None:
    """Get this signal when the thread that forked this process ends."""
    _libc.prctl(PR_SET_PDEATHSIG, int(death_signal))


def adopt_orphans() -> None:
    """Orphaned descendants become children of this process instead of init's."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
