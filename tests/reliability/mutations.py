"""Breaks one safeguard at a time in a copy of the code, and shows which test notices.

    python -m tests.reliability.mutations [--only WORD ...] [--out FILE]

Exit status 1: a mutation survived, could not be applied, or its test fails without it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
COPIED = ("app", "client", "migrations", "tests", "worker", "pyproject.toml")


@dataclass(frozen=True)
class Mutation:
    name: str
    file: str
    old: str
    new: str
    test: str  # a file, or a test in it, for pytest


LIFECYCLE = "tests/app/jobs/test_lifecycle.py"
DURABILITY = "tests/reliability/test_durability.py"
NAMED_LAST = f"{DURABILITY}::test_a_checkpoint_is_named_only_when_all_of_it_is_on_disk"
RESUME = "tests/worker/engine/test_resume.py"
EQUAL = f"{RESUME}::test_a_resumed_run_equals_an_uninterrupted_one"
STATES = "tests/app/jobs/test_state_machine.py::test_the_lifecycle_keeps_its_invariants"
STALE = f"{LIFECYCLE}::test_a_worker_that_lost_its_job_writes_nothing"

MUTATIONS = [
    Mutation(
        "no fsync of a checkpoint's files",
        "worker/engine/checkpoint.py",
        "        os.fsync(file.fileno())\n",
        "",
        NAMED_LAST,
    ),
    Mutation(
        "fsync before the contents have left the process",
        "worker/engine/checkpoint.py",
        "        file.flush()\n        os.fsync(file.fileno())\n",
        "        os.fsync(file.fileno())\n",
        NAMED_LAST,
    ),
    Mutation(
        "no fsync of the folder that the new name is in",
        "worker/engine/checkpoint.py",
        "    sync_folder(folder.parent)\n",
        "",
        NAMED_LAST,
    ),
    Mutation(
        "no rename: a checkpoint is written under its final name",
        "worker/engine/checkpoint.py",
        '    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")\n',
        "    temporary = folder\n",
        NAMED_LAST,
    ),
    Mutation(
        "digests are not checked on loading",
        "worker/engine/checkpoint.py",
        "        if hashlib.sha256(contents[name]).hexdigest() != digest:\n",
        "        if False:\n",
        f"{DURABILITY}::test_a_damaged_checkpoint_is_refused",
    ),
    Mutation(
        "no attempt guard: any worker may write to a running job",
        "app/jobs/lifecycle.py",
        "    return [Job.attempt == lease.attempt, Job.status == JobStatus.RUNNING]\n",
        "    return [Job.status == JobStatus.RUNNING]\n",
        STALE,
    ),
    Mutation(
        "no status guard: a worker may write after its attempt has ended",
        "app/jobs/lifecycle.py",
        "    return [Job.attempt == lease.attempt, Job.status == JobStatus.RUNNING]\n",
        "    return [Job.attempt == lease.attempt]\n",
        f"{LIFECYCLE}::test_a_worker_that_ended_its_attempt_writes_nothing_more",
    ),
    Mutation(
        "the reaper does not look again at a lease once it holds the job",
        "app/jobs/lifecycle.py",
        "    if job is None or not leases.lock_expired(session, job_id, attempt):\n",
        "    if job is None:\n",
        f"{LIFECYCLE}::test_a_lease_that_is_renewed_while_the_reaper_looks_is_kept",
    ),
    Mutation(
        "workers are declared lost as soon as Postgres is back",
        "app/jobs/leases.py",
        "LeaseRow.expires_at < now(), uptime > ttl\n",
        "LeaseRow.expires_at < now()\n",
        "tests/app/jobs/test_leases.py",
    ),
    Mutation(
        "claims do not take turns",
        "app/jobs/lifecycle.py",
        "    session.execute(select(func.pg_advisory_xact_lock(CLAIM_LOCK)))\n",
        "",
        "tests/app/jobs/test_fairness.py::test_parallel_claims_do_not_overrun_the_cap_of_a_project",
    ),
    Mutation(
        "a request does not hold the job's status still",
        "app/jobs/lifecycle.py",
        "    _lock(session, job)\n",
        "",
        f"{LIFECYCLE}::test_a_request_that_races_a_hand_back_is_never_refused",
    ),
    Mutation(
        "failures are counted without end",
        "app/jobs/lifecycle.py",
        "    again = retry and failures < max_attempts\n",
        "    again = retry\n",
        f"{LIFECYCLE}::test_a_failing_job_waits_longer_each_time_and_then_fails",
    ),
    Mutation(
        "the lease of an ended attempt stays",
        "app/jobs/lifecycle.py",
        "    leases.revoke(session, job_id, attempt)\n",
        "",
        STATES,
    ),
    Mutation(
        "a wake-up is sent before the commit",
        "app/jobs/lifecycle.py",
        "    after_commit(session, hints.hint_work)\n    return changed\n",
        "    hints.hint_work()\n    return changed\n",
        "tests/app/jobs/test_dispatch.py"
        "::test_a_job_wakes_a_worker_once_it_is_committed_and_not_before",
    ),
    Mutation(
        "what waits for the commit also happens after a rollback",
        "app/db.py",
        '    session.info.pop("after_commit", None)\n',
        "    _run_actions(session)\n",
        "tests/app/jobs/test_dispatch.py::test_a_job_that_is_rolled_back_wakes_nobody",
    ),
    Mutation(
        "lost wake-ups are not sent again",
        "app/jobs/dispatch.py",
        "        queue.send_wake_up()\n",
        "        pass\n",
        "tests/app/jobs/test_dispatch.py",
    ),
    Mutation(
        "a batch is written again when the answer to its commit was lost",
        "worker/recorder.py",
        "        return recorded or self._apply(session, batch)\n",
        "        return self._apply(session, batch)\n",
        "tests/worker/test_recorder.py::test_a_commit_whose_answer_is_lost_is_not_repeated",
    ),
    Mutation(
        "an outage of Postgres ends the training",
        "worker/recorder.py",
        "            if not _is_outage(error):\n",
        "            if True:\n",
        "tests/worker/test_recorder.py::test_an_outage_of_postgres_loses_and_doubles_nothing",
    ),
    Mutation(
        "the shim does not adopt what its trainers leave behind",
        "worker/shim.py",
        "    linux.adopt_orphans()\n",
        "",
        "tests/worker/test_shim.py",
    ),
    Mutation(
        "the shim waits for ever for a silent supervisor",
        "worker/shim.py",
        "        deadline = None if beats.endswith(IDLE) else time.monotonic() + ttl_seconds\n",
        "        deadline = None\n",
        "tests/worker/test_shim.py",
    ),
    Mutation(
        "a broken slot is used again",
        "worker/slot.py",
        "        return self._broken or self._shim is None or self._shim.poll() is not None\n",
        "        return self._shim is None or self._shim.poll() is not None\n",
        "tests/worker/test_slot.py",
    ),
    Mutation(
        "random numbers are not restored",
        "worker/engine/snapshot.py",
        '        restore_rng(self.state, self.facts["python_rng"], device)\n',
        "",
        EQUAL,
    ),
    Mutation(
        "the optimizer's state is not restored",
        "worker/engine/snapshot.py",
        "        restore_optimizer(optimizer, self.state)\n",
        "",
        EQUAL,
    ),
    Mutation(
        "an epoch that was cut starts again at its first row",
        "worker/engine/trainer.py",
        "self.batches.epoch(*divmod(self.step, self.steps_per_epoch)):\n",
        "self.batches.epoch(self.step // self.steps_per_epoch, 0):\n",
        EQUAL,
    ),
    Mutation(
        "early stopping forgets what it has counted",
        "worker/engine/trainer.py",
        '        self.early_stopping.load_state_dict(facts["early_stopping"])\n',
        "",
        f"{RESUME}::test_early_stopping_survives_a_cut",
    ),
    Mutation(
        "the best so far is forgotten",
        "worker/engine/trainer.py",
        "            self.best_snapshot = best_snapshot\n",
        "            pass\n",
        f"{RESUME}::test_the_best_weights_survive_a_cut",
    ),
]


def copy_code(folder: Path) -> None:
    for name in COPIED:
        source, target = CHECKOUT / name, folder / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)


def run_test(folder: Path, test: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", test],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )


def find_failed_test(output: str) -> str | None:
    """The name of the test that noticed, from pytest's summary."""
    for line in output.splitlines():
        if line.startswith(("FAILED tests/", "ERROR tests/")):
            return line.split()[1].rpartition("::")[2].partition("[")[0]
    return None


def try_mutation(folder: Path, mutation: Mutation) -> str | None:
    """The test that fails with the mutation. Raises ValueError if it cannot be applied."""
    path = folder / mutation.file
    original = path.read_text()
    if mutation.old not in original:
        raise ValueError(f"{mutation.file} has changed: mend the mutation {mutation.name!r}")
    path.write_text(original.replace(mutation.old, mutation.new))
    try:
        done = run_test(folder, mutation.test)
    finally:
        path.write_text(original)
    return find_failed_test(done.stdout) if done.returncode == 1 else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", default=[""], nargs="*", help="mutations with one of these words in their name"
    )
    parser.add_argument("--out", type=Path, help="write the table here, too")
    options = parser.parse_args()
    chosen = [
        mutation for mutation in MUTATIONS if any(word in mutation.name for word in options.only)
    ]
    lines, bad = ["| mutation | test that fails |", "|---|---|"], 0
    with tempfile.TemporaryDirectory(prefix="ts-mut-") as name:
        folder = Path(name)
        copy_code(folder)
        for test in dict.fromkeys(mutation.test for mutation in chosen):
            if (done := run_test(folder, test)).returncode:
                print(done.stdout[-2000:])
                print(f"FAILS WITHOUT A MUTATION: {test}", flush=True)
                bad += 1
        for mutation in chosen:
            found = try_mutation(folder, mutation)
            bad += found is None
            lines.append(f"| {mutation.name} | {f'`{found}`' if found else 'NONE: it survived'} |")
            print(lines[-1], flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
