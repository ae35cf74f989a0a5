"""Whether what a job asks to know about its model can be found out."""

from app.jobs.findings import Findings, Loc
from app.jobs.inputs import Inputs
from app.jobs.sizes import Rows
from app.specs import JobSpec

MAX_SHUFFLED = 1000  # columns: each is scored several times


def check_explanations(found: Findings, spec: JobSpec, rows: Rows, inputs: Inputs) -> None:
    evaluation = spec.evaluation
    asked = {"importance": evaluation.importance, "explanations": evaluation.explanations}
    for field in (field for field, value in asked.items() if value):
        if rows.test + rows.validation == 0:
            found.refuse(
                ["evaluation", field], "it looks at test or validation rows; set split.test"
            )
    if evaluation.importance is not None:
        check_importance(found, inputs)


def check_importance(found: Findings, inputs: Inputs) -> None:
    loc: Loc = ["evaluation", "importance"]
    if inputs.takes != "table" or inputs.text is not None:
        found.refuse(
            loc,
            "it shuffles columns of numbers and categories, and here is something else; leave it "
            "out, or ask for explanations",
        )
    if len(inputs.columns) > MAX_SHUFFLED:
        count = len(inputs.columns)
        found.refuse(loc, f"{count} input columns are too many; at most {MAX_SHUFFLED} fit")
