"""The warm server of one slot: has imported torch and the engine, and forks a trainer per job.

It never runs a parallel operation, touches CUDA or starts a thread, so a fork of it is clean and
its first optimizer step comes within milliseconds of the fork.

    python -m worker.warm CONTROL_FD

The control socket carries one packet per request, `{"run": path of the request}` with two file
descriptors (channel, log), or `{"kill": true}`; and per answer, `{"ready": pid}`,
`{"started": pid}` or `{"exit": wait status}`.
"""

import gc
import json
import os
import select
import signal
import socket
import sys

import torch._dynamo  # noqa: F401 - the first optimizer step would import it

from app import linux
from worker import child, processes, registry

PACKET_BYTES = 1 << 16


def fork_trainer(control: socket.socket, path: str, channel: int, log: int) -> int:
    pid = os.fork()
    if pid:
        os.close(channel)
        os.close(log)
        return pid
    status = 1
    try:
        control.close()
        status = child.main(path, channel, log)
    finally:
        os._exit(status)


def wait_for(control: socket.socket, pid: int) -> int | None:
    """The wait status of the trainer; None when the control socket closed first."""
    handle = os.pidfd_open(pid)
    try:
        while True:
            sources: list[int | socket.socket] = [handle, control]
            ready, _, _ = select.select(sources, [], [])
            if handle in ready:
                return os.waitpid(pid, 0)[1]
            if not control.recv(PACKET_BYTES):
                return None
            os.kill(pid, signal.SIGKILL)  # the only request while a job runs
    finally:
        os.close(handle)


def answer(control: socket.socket, **message: int) -> None:
    control.send(json.dumps(message).encode())


def serve(control: socket.socket) -> None:
    answer(control, ready=os.getpid())
    while True:
        try:
            packet, handles, _, _ = socket.recv_fds(control, PACKET_BYTES, maxfds=2)
        except ConnectionResetError:  # the supervisor left an answer unread
            return
        if not packet:
            return
        request = json.loads(packet)
        if "run" not in request:
            continue  # a kill for a job that has just ended
        channel, log = handles
        pid = fork_trainer(control, request["run"], channel, log)
        answer(control, started=pid)
        status = wait_for(control, pid)
        processes.kill_descendants()
        if status is None:
            return
        answer(control, exit=status)


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    linux.adopt_orphans()
    registry.import_variants()
    gc.collect()
    gc.freeze()  # keeps the garbage collector from copying shared pages in each fork
    serve(socket.socket(fileno=int(sys.argv[1])))


if __name__ == "__main__":
    main()
