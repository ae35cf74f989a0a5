"""What a job makes of a column of pictures, and which wishes for it are refused."""

from typing import Any

import pytest

from app.errors import ResourceLimit
from app.jobs.checks import resolve
from app.specs.columns import Column, ImageFacts
from app.specs.image import ImageSpec
from tests.app.jobs.test_checks import MLP, error_of, errors_of, plan, table
from tests.factories import category, number

CLASSES = category("species", "x", "y", "z")
CNN = {"type": "cnn"}


def image(name: str = "photo", size: tuple[int, ...] = (3, 28, 28, 20, 20), **facts: Any) -> Column:
    """`size`: channels, then the smallest and largest height and width."""
    names = ("channels", "height_min", "height_max", "width_min", "width_max")
    measured = ImageFacts(**dict(zip(names, size, strict=True)))
    return Column(name=name, kind="image", image=measured, **{"distinct": 150} | facts)


@pytest.mark.parametrize("model", [CNN, MLP])
def test_pictures_of_one_size_keep_it(model: dict[str, Any]) -> None:
    planned = plan(image(), CLASSES, model=model)
    assert planned.spec.dataset.image == ImageSpec(height=28, width=20, channels=3)
    assert planned.spec.dataset.inputs == ["photo"]
    assert planned.warnings == []
    assert resolve(planned.spec, table(image(), CLASSES), None).spec == planned.spec


def test_pictures_of_many_sizes_get_a_usual_one_with_a_warning() -> None:
    planned = plan(image(size=(1, 20, 30, 40, 40)), CLASSES, model=CNN)
    assert planned.spec.dataset.image == ImageSpec(height=64, width=64, channels=1)
    (warning,) = planned.warnings
    assert warning["loc"] == ["dataset", "image"]
    assert "20 to 30 pixels high and 40 to 40 wide" in warning["message"]
    asked = {"image": {"height": 24, "width": 32}}
    planned = plan(image(size=(1, 20, 30, 40, 40)), CLASSES, model=CNN, dataset=asked)
    assert planned.spec.dataset.image == ImageSpec(height=24, width=32, channels=1)
    assert planned.warnings == []


def test_colour_may_be_given_up() -> None:
    planned = plan(image(), CLASSES, model=CNN, dataset={"image": {"channels": 1}})
    assert planned.spec.dataset.image == ImageSpec(height=28, width=20, channels=1)


def test_a_model_of_images_is_filled_in() -> None:
    model = plan(image(), CLASSES, model=CNN).spec.model
    assert (model.type, model.over, model.gather) == ("cnn", "image", "flatten")  # type: ignore[union-attr]


def test_parameters_and_memory_are_those_of_pictures() -> None:
    planned = plan(image(), CLASSES, model={**MLP, "hidden": [5]})
    assert planned.parameter_count == (3 * 28 * 20 + 1) * 5 + (5 + 1) * 3
    # four copies of the weights for adam, and a byte for each pixel
    assert planned.memory_bytes == 4 * 4 * planned.parameter_count + 150 * 3 * 28 * 20


def test_the_rows_of_a_batch_count_too() -> None:
    training = {"batch_size": 10, "optimizer": {"type": "sgd"}}
    planned = plan(image(), CLASSES, model={**CNN, "channels": [8]}, training=training)
    kept = 10 * 2 * 8 * 28 * 20
    assert planned.memory_bytes == 4 * (2 * planned.parameter_count + kept) + 150 * 3 * 28 * 20
    huge = {"type": "cnn", "channels": [4096] * 8, "kernels": [1], "gather": "average"}
    with pytest.raises(ResourceLimit) as caught:
        plan(image(size=(3, 512, 512, 512, 512)), CLASSES, model=huge)
    assert "the batches or the images" in str(caught.value)


def test_where_nobody_says_what_to_read_pictures_are_read_alone() -> None:
    planned = plan(image(), number("length"), CLASSES, model=CNN)
    assert planned.spec.dataset.inputs == ["photo"]
    assert "without 'length'" in planned.warnings[0]["message"]


def test_pictures_go_before_the_text_about_them() -> None:
    planned = plan(image(), Column(name="note", kind="text", distinct=150), CLASSES, model=CNN)
    assert planned.spec.dataset.inputs == ["photo"]


def test_a_block_that_has_nothing_left_to_pool_is_warned_about() -> None:
    model = {"type": "cnn", "channels": [4] * 6, "pool": "max"}
    (warning,) = plan(image(), CLASSES, model=model).warnings
    assert "from block 5 on nothing is pooled: the image is 1 x 1 by then" in warning["message"]


@pytest.mark.parametrize(
    ("columns", "parts", "where", "part"),
    [
        ((image(),), {}, "dataset.inputs", "use mlp or cnn"),
        ((image(), number("n")), {"model": {"type": "logistic"}}, "dataset.inputs", "mlp or cnn"),
        ((image(),), {"model": {"type": "rnn"}}, "dataset.inputs", "use cnn or mlp for pictures"),
        (
            (image(), number("n")),
            {"model": MLP, "dataset": {"inputs": ["photo", "n"]}},
            "dataset.inputs",
            "list only 'photo'",
        ),
        ((image("a"), image("b")), {"model": CNN}, "dataset.inputs", "list only 'a'"),
        (
            (image(missing=3, first_missing_row=7),),
            {"model": CNN},
            "dataset.inputs",
            "no picture in 3 rows, first in row 7",
        ),
        (
            (image(),),
            {"model": CNN, "dataset": {"text": {"type": "tokens"}}},
            "dataset.text",
            "leave it out",
        ),
        (
            (number("n"),),
            {"model": MLP, "dataset": {"image": {"channels": 1}}},
            "dataset.image",
            "leave it out",
        ),
        ((image(),), {"model": {**CNN, "over": "tokens"}}, "model.over", "use image or auto"),
        (
            (image(),),
            {"model": {**CNN, "over": "sequence", "gather": "flatten"}},
            "model.over",
            "not as sequence",
        ),
        ((number("n"),), {"model": {**CNN, "over": "image"}}, "dataset.inputs", "holds pictures"),
        (
            (image(),),
            {"model": CNN, "evaluation": {"importance": "permutation"}},
            "evaluation.importance",
            "here is something else",
        ),
    ],
)
def test_wrong_pairings_are_refused_with_the_fix(
    columns: tuple[Column, ...], parts: dict[str, Any], where: str, part: str
) -> None:
    loc, message = error_of(*columns, CLASSES, **parts)
    assert loc == where
    assert part in message


def test_a_picture_is_no_target() -> None:
    target = image("species")
    loc, message = error_of(number("length"), target, model=MLP)
    assert loc == "dataset.target"
    assert "holds image" in message


def test_pictures_may_be_missing_in_no_part_of_the_data() -> None:
    test = table(image(missing=1, first_missing_row=2), CLASSES, rows=20)
    loc, message = error_of(image(), CLASSES, model=CNN, test=test)
    assert loc == "dataset.test_id"
    assert "row 2" in message
    other = table(number("photo"), CLASSES, rows=20)
    (error,) = errors_of(image(), CLASSES, model=CNN, test=other)
    assert "holds number in the test dataset, not image" in error["message"]


def test_height_and_width_belong_together() -> None:
    with pytest.raises(ValueError, match="belong together"):
        plan(image(), CLASSES, model=CNN, dataset={"image": {"height": 5}})
