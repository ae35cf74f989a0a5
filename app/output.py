"""One stream out of many processes: every line says where it comes from."""

import os
import sys
import threading
from typing import TextIO

COLORS = (36, 32, 35, 34, 33)  # cyan, green, magenta, blue, yellow
NAME_WIDTH = 8


class Output:
    def __init__(self, stream: TextIO = sys.stdout) -> None:
        self._stream = stream
        self._colored = stream.isatty() and "NO_COLOR" not in os.environ
        self._lock = threading.Lock()
        self._pipes: list[int] = []
        self._readers: list[threading.Thread] = []

    def say(self, text: str) -> None:
        """A line of our own."""
        self._write("up", 1, text)  # 1: bold

    def open_pipe(self, name: str) -> int:
        """A descriptor for the output of a child. It serves the child's successors too."""
        reading, writing = os.pipe()
        color = COLORS[len(self._pipes) % len(COLORS)]
        reader = threading.Thread(target=self._copy, args=(name, color, reading), daemon=True)
        reader.start()
        self._pipes.append(writing)
        self._readers.append(reader)
        return writing

    def close(self) -> None:
        """Print what the children said last. Call it once they have ended."""
        for pipe in self._pipes:
            os.close(pipe)
        for reader in self._readers:
            reader.join(timeout=1)

    def _copy(self, name: str, color: int, pipe: int) -> None:
        with open(pipe, errors="replace") as lines:
            for line in lines:
                self._write(name, color, line.rstrip("\n"))

    def _write(self, name: str, color: int, line: str) -> None:
        label = f"{name:<{NAME_WIDTH}} │"
        if self._colored:
            label = f"\x1b[{color}m{label}\x1b[0m"
        try:
            with self._lock:
                self._stream.write(f"{label} {line}\n")
                self._stream.flush()
        except OSError:  # nobody reads any more; the children must not block for that
            pass
