"""What a worker commits, keeps and resumes from."""

from app.checkpoints.service import list_resumable, prune
from app.checkpoints.tables import Checkpoint
from app.db import transaction
from app.jobs.leases import Lease
from tests.app.checkpoints.files import list_checkpoint


def add(lease: Lease, step: int, best: bool = False) -> str:
    return list_checkpoint(lease, step, best=best, files={})


def steps_of(lease: Lease) -> list[int]:
    with transaction() as session:
        return [row.step for row in list_resumable(session, lease.job_id)]


def test_the_newest_checkpoint_is_resumed_first(lease: Lease) -> None:
    for step in (5, 20, 10):
        add(lease, step)
    assert steps_of(lease) == [20, 10, 5]


def test_at_most_one_checkpoint_is_the_best(lease: Lease) -> None:
    for step, best in ((1, True), (2, True), (3, False)):
        add(lease, step, best)
    with transaction() as session:
        assert [row.step for row in list_resumable(session, lease.job_id) if row.best] == [2]


def test_pruning_keeps_the_newest_and_the_best_and_names_the_folders_to_remove(
    lease: Lease,
) -> None:
    for step in range(1, 7):
        add(lease, step, best=step == 2)
    with transaction() as session:
        keys = prune(session, lease.job_id, keep_last=2, keep_best=1)
    assert steps_of(lease) == [6, 5, 2]
    assert sorted(keys) == [f"jobs/{lease.job_id}/a1/s{step}" for step in (1, 3, 4)]


def test_pruning_can_drop_the_best(lease: Lease) -> None:
    for step in (1, 2, 3):
        add(lease, step, best=step == 1)
    with transaction() as session:
        prune(session, lease.job_id, keep_last=1, keep_best=0)
    assert steps_of(lease) == [3]


def test_a_pinned_checkpoint_is_never_pruned(lease: Lease) -> None:
    pinned = add(lease, 1)
    add(lease, 2)
    with transaction() as session:
        session.get_one(Checkpoint, pinned).pinned = True
    with transaction() as session:
        assert prune(session, lease.job_id, keep_last=1, keep_best=0) == []
    assert steps_of(lease) == [2, 1]
