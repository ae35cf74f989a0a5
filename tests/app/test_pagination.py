import pytest

from app.errors import ValidationError
from app.pagination import make_cursor, read_cursor


def test_a_cursor_reads_back_under_its_own_filter() -> None:
    cursor = make_cursor("job_1", {"status": "failed"})
    assert read_cursor(cursor, {"status": "failed"}) == "job_1"
    with pytest.raises(ValidationError):
        read_cursor(cursor, {"status": "queued"})


@pytest.mark.parametrize("cursor", ["", "garbage", "é", "bnVsbA", "WzEsMl0", "W10", "a b", "=="])
def test_what_the_server_did_not_make_is_refused(cursor: str) -> None:
    with pytest.raises(ValidationError):
        read_cursor(cursor, None)


def test_a_cursor_cannot_smuggle_control_characters() -> None:
    with pytest.raises(ValidationError):
        read_cursor(make_cursor("a\x00b", None), None)
