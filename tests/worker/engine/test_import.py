"""The engine is imported by a process that is forked for every job."""

import os
import subprocess
import sys
from pathlib import Path

from worker.shim import WARM_ENVIRONMENT

SCRIPT = """
import os
import torch, torch._dynamo
from worker import child, registry
registry.import_variants()
assert len(os.listdir("/proc/self/task")) == 1, "a thread was started"
assert not torch.cuda.is_initialized()
"""


def test_importing_the_engine_starts_no_thread_and_no_cuda_and_writes_nowhere(
    tmp_path: Path,
) -> None:
    home, cache = tmp_path / "home", tmp_path / "cache"
    home.mkdir()
    environment = os.environ | WARM_ENVIRONMENT | {"HOME": str(home), "MPLCONFIGDIR": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert not list(home.iterdir()), "what libraries cache belongs into the folder of the worker"
