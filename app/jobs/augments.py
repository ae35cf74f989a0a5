"""Whether the augmentations of a spec can change the rows that its model will see."""

from app.jobs.findings import Findings
from app.jobs.inputs import Inputs
from app.specs import JobSpec
from app.specs.augment import AUGMENTATIONS, AugmentSpec
from app.specs.models import Taken

PLURALS: dict[Taken, str] = {
    "table": "tables of numbers and categories",
    "tokens": "tokens of text",
    "sequence": "sequences",
    "image": "images",
}


def check_augment(found: Findings, spec: JobSpec, inputs: Inputs) -> None:
    for i, augment in enumerate(spec.training.augment):
        if reason := find_misfit(augment, inputs):
            found.refuse(["training", "augment", i], reason)


def find_misfit(augment: AugmentSpec, inputs: Inputs) -> str | None:
    if inputs.takes == "table" and inputs.text is not None:
        return (
            f"{augment.type} cannot change text as counts of terms, which stay sparse; leave it "
            "out, or read the text in order with cnn or rnn and word_dropout"
        )
    if inputs.takes not in augment.takes:
        changed = " and ".join(PLURALS[each] for each in augment.takes)
        fitting = [
            each.model_fields["type"].default
            for each in AUGMENTATIONS
            if inputs.takes in each.takes
        ]
        return (
            f"{augment.type} changes {changed}, and the model reads {PLURALS[inputs.takes]}; "
            f"leave it out, or use {' or '.join(fitting)}"
        )
    return augment.misfit(inputs.shape) if inputs.takes == "image" else None
