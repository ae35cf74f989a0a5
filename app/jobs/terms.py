"""Whether any term of a text can be kept."""

from app.jobs.findings import Findings
from app.specs.text import TermsSpec, TextSpec, TokensSpec


def check_terms(found: Findings, text: TextSpec | None, rows: int) -> None:
    """`rows`: at most so many are trained on."""
    if text is None or isinstance(text, TokensSpec):
        return
    for part in text.split_analyzers():
        check_frequencies(found, part, rows)


def check_frequencies(found: Findings, part: TermsSpec, rows: int) -> None:
    most = int(part.max_df * rows)
    if part.min_df > most:
        found.refuse(
            ["dataset", "text"],
            f"no term of {part.analyzer}s is in at least {part.min_df} (min_df) and at most {most} "
            f"(max_df) of {rows} rows; lower min_df, or raise max_df",
        )
