from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from app.jobs.augments import find_misfit
from app.specs.augment import AUGMENTATIONS, Augmentations, AugmentSpec
from app.specs.columns import Column
from tests.app.jobs.test_checks import error_of, errors_of, plan
from tests.factories import category, number

TEXT = [Column(name="note", kind="text", distinct=150), category("species", "x", "y")]
RNN = {"type": "rnn"}


@dataclass
class Stand:
    """In for Inputs of a kind that no dataset here holds."""

    takes: Any
    shape: tuple[int, ...] = ()
    text: None = None


def parse(**fields: Any) -> Any:
    return TypeAdapter(AugmentSpec).validate_python(fields)


def test_what_fits_is_accepted() -> None:
    augment = [{"type": "mixup"}, {"type": "noise", "std": 0.5}]
    assert len(plan(training={"augment": augment}).spec.training.augment) == 2
    plan(
        number("length"), number("species"), model={"type": "linear"}, training={"augment": augment}
    )
    plan(*TEXT, model=RNN, training={"augment": [{"type": "word_dropout"}]})


def test_each_augmentation_that_does_not_fit_is_named_with_those_that_do() -> None:
    augment = [{"type": "noise"}, {"type": "flip"}, {"type": "mask"}]
    found = {
        error["loc"][-1]: error["message"] for error in errors_of(training={"augment": augment})
    }
    assert set(found) == {1, 2}
    assert "flip changes images" in found[1]
    assert "use mixup or noise" in found[1]
    assert "mask changes sequences" in found[2]


def test_tokens_are_not_mixed() -> None:
    loc, message = error_of(*TEXT, model=RNN, training={"augment": [{"type": "mixup"}]})
    assert loc == "training.augment.0"
    assert "use word_dropout" in message


def test_text_as_counts_of_terms_is_left_alone() -> None:
    dataset = {"inputs": ["note"], "text": {"type": "tf_idf"}}
    augment = [{"type": "noise"}]
    loc, message = error_of(*TEXT, dataset=dataset, training={"augment": augment})
    assert loc == "training.augment.0"
    assert "stay sparse; leave it out" in message


@pytest.mark.parametrize("spec", AUGMENTATIONS)
def test_every_augmentation_fits_what_it_takes_and_nothing_else(spec: Any) -> None:
    for takes in ("table", "tokens", "sequence", "image"):
        stand: Any = Stand(takes, (3, 32, 32) if takes == "image" else (5,))
        assert (find_misfit(spec(), stand) is None) == (takes in spec.takes)


def test_images_must_be_large_enough_and_in_colour() -> None:
    grey: Any = Stand("image", (1, 28, 20))
    assert "at most 19" in (find_misfit(parse(type="shift", pixels=20), grey) or "")
    dot: Any = Stand("image", (1, 1, 9))
    assert (find_misfit(parse(type="crop", pixels=1), dot) or "").endswith("leave it out")
    assert "28 x 20" in (find_misfit(parse(type="cutout", size=21), grey) or "")
    assert "saturation to 0" in (find_misfit(parse(type="colour", saturation=0.5), grey) or "")


@pytest.mark.parametrize(
    "augment",
    [
        [{"type": "mixup"}, {"type": "noise"}, {"type": "mixup"}],
        [{"type": "colour", "brightness": 0.0, "contrast": 0.0}],
        [{"type": "flip", "probability": 0.0}],
        [{"type": "mask", "share": 1.0}],
        [{"type": "word_dropout", "probability": 1.0}],
        [{"type": "noise", "std": float("nan")}],
        [{"type": "shift", "pixels": 1.5}],
        [{"type": "warp"}],
        [{"type": "noise"}] * 17,
    ],
)
def test_nonsense_is_refused(augment: list[dict[str, Any]]) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Augmentations).validate_python(augment)
