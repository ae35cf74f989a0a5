"""How many rows a share of them is, where a job is checked and where it runs."""


def count_share(rows: int, share: float) -> int:
    """A part that is asked for is never empty."""
    return max(1, round(rows * share)) if share > 0 else 0
