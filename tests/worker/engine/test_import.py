"""The engine is imported by a process that is forked for every job."""

import subprocess
import sys

SCRIPT = """
import os
import torch, torch._dynamo
before = len(os.listdir("/proc/self/task"))
from worker import registry
import worker.engine.run
registry.import_variants()
assert len(os.listdir("/proc/self/task")) == before, "a thread was started"
assert not torch.cuda.is_initialized()
"""


def test_importing_the_engine_starts_no_thread_and_no_cuda() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
