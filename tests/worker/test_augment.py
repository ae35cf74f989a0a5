"""Every augmentation over every kind of input that it takes, then each one's own arithmetic."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from app.specs.augment import (
    AUGMENTATIONS,
    ColourSpec,
    CropSpec,
    CutoutSpec,
    FlipSpec,
    MaskSpec,
    MixupSpec,
    NoiseSpec,
    ShiftSpec,
    WordDropoutSpec,
)
from worker import registry
from worker.augment import Mixed, Targets, keep_targets, split_targets
from worker.augment.colour import blend, to_grey
from worker.augment.crop import place_around
from worker.augment.rotate import turn
from worker.engine.augmenter import Augmenter, make_generator

ROWS = 64
VARIANTS = [(spec(), takes) for spec in AUGMENTATIONS for takes in spec.takes]
OTHERS = [
    (FlipSpec(direction="vertical"), "image"),
    (CropSpec(fill="edge"), "image"),
    (ColourSpec(saturation=1.0, brightness=0.0, contrast=0.0), "image"),
    (MaskSpec(contiguous=False), "sequence"),
]
EVERY = pytest.mark.parametrize(
    ("spec", "takes"), [*VARIANTS, *OTHERS], ids=lambda each: getattr(each, "type", each)
)


def make_inputs(takes: str) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.arange(ROWS) % 20 + 1
    ended = torch.arange(20) >= lengths[:, None]  # (B, T)
    match takes:
        case "image":
            return torch.randint(0, 256, (ROWS, 3, 12, 15), generator=generator).byte()
        case "sequence":
            steps = torch.randn(ROWS, 20, 2, generator=generator)
            return steps.masked_fill(ended[:, :, None], torch.nan)
        case "tokens":
            return torch.randint(2, 30, (ROWS, 20), generator=generator).masked_fill(ended, 0)
    return torch.randn(ROWS, 5, generator=generator)


def augment(
    spec: Any, inputs: Tensor, step: int = 0, targets: Tensor | None = None
) -> tuple[Tensor, Targets]:
    targets = torch.arange(len(inputs)) if targets is None else targets
    return Augmenter([registry.build_augment(spec)], 7).apply(inputs, targets, step)


# ---------------------------------------------------------------- the contract


@EVERY
def test_rows_keep_their_shape_and_range(spec: Any, takes: str) -> None:
    inputs = make_inputs(takes)
    changed, targets = augment(spec, inputs)
    assert changed.shape == inputs.shape
    assert len(targets) == ROWS
    assert changed.dtype in (inputs.dtype, torch.float32)
    if takes == "image":
        assert 0 <= changed.min() <= changed.max() <= 255
    if takes == "tokens":
        assert changed.dtype == torch.long


@EVERY
def test_something_changes_and_what_came_in_does_not(spec: Any, takes: str) -> None:
    inputs = make_inputs(takes)
    before = inputs.clone()
    changed, _ = augment(spec, inputs)
    assert not torch.equal(changed.nan_to_num(-99), inputs.nan_to_num(-99))
    assert torch.equal(inputs.nan_to_num(-99), before.nan_to_num(-99))


@EVERY
def test_what_fills_up_a_row_stays_and_nothing_else_becomes_it(spec: Any, takes: str) -> None:
    inputs = make_inputs(takes)
    changed, _ = augment(spec, inputs)
    assert torch.equal(changed.isnan(), inputs.isnan())
    if takes == "tokens":
        assert torch.equal(changed == 0, inputs == 0)


@EVERY
def test_a_step_is_the_same_every_time_and_unlike_the_next(spec: Any, takes: str) -> None:
    inputs = make_inputs(takes)
    first, again, later = (augment(spec, inputs, step)[0].nan_to_num() for step in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, later)


@EVERY
def test_the_global_random_numbers_are_not_touched(spec: Any, takes: str) -> None:
    before = torch.get_rng_state()
    augment(spec, make_inputs(takes))
    assert torch.equal(torch.get_rng_state(), before)


@EVERY
def test_one_row_alone_can_be_changed(spec: Any, takes: str) -> None:
    inputs = make_inputs(takes)[:1]
    assert augment(spec, inputs)[0].shape == inputs.shape


@EVERY
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_makes_the_same_choices(spec: Any, takes: str) -> None:
    inputs = make_inputs(takes)
    here, _ = augment(spec, inputs)
    there, _ = augment(spec, inputs.cuda(), targets=torch.arange(ROWS).cuda())
    torch.testing.assert_close(here, there.cpu(), equal_nan=True, atol=1e-2, rtol=1e-5)


def test_the_same_augmentation_twice_makes_choices_of_its_own() -> None:
    drawn = []
    spy = keep_targets(lambda inputs, generator: drawn.append(torch.rand(1, generator=generator)))
    Augmenter([spy, spy], 7).apply(torch.zeros(1), torch.zeros(1), 0)
    assert drawn[0] != drawn[1]


def test_seeds_and_steps_that_are_alike_start_apart() -> None:
    places = [
        (seed, step, number)
        for seed in (0, 1, 2**63 - 1)
        for step in (0, 1, 23)
        for number in (0, 1)
    ]
    drawn = {torch.rand(1, generator=make_generator(*place)).item() for place in places}
    assert len(drawn) == len(places)


# ---------------------------------------------------------------- images


def test_a_shift_moves_the_image_by_whole_pixels_and_brings_in_zeros() -> None:
    image = torch.zeros(1, 1, 7, 9, dtype=torch.uint8)
    image[0, 0, 3, 4] = 200
    changed, _ = augment(ShiftSpec(pixels=2), image.expand(200, -1, -1, -1))
    places = changed[:, 0].nonzero()
    assert len(places) == 200
    assert set(map(tuple, (places[:, 1:] - torch.tensor([3, 4])).tolist())) == {
        (down, right) for down in range(-2, 3) for right in range(-2, 3)
    }
    full, _ = augment(ShiftSpec(pixels=2), torch.full((200, 1, 7, 9), 9, dtype=torch.uint8))
    assert full.min() == 0


def test_a_flip_mirrors_about_half_of_the_images() -> None:
    images = make_inputs("image")
    for direction, side in (("horizontal", 3), ("vertical", 2)):
        changed, _ = augment(FlipSpec(direction=direction), images)
        mirrored = (changed == images.flip(side)).flatten(1).all(1)
        same = (changed == images).flatten(1).all(1)
        assert (mirrored ^ same).all()
        assert 16 < mirrored.sum() < 48
        assert torch.equal(
            augment(FlipSpec(direction=direction, probability=1.0), images)[0], images.flip(side)
        )


def test_a_crop_shows_a_part_of_the_larger_image() -> None:
    images = make_inputs("image")[:5]
    for fill, mode in (("mirror", "reflect"), ("edge", "replicate")):
        larger = torch.nn.functional.pad(images.float(), (4, 4, 4, 4), mode=mode).byte()
        changed, _ = augment(CropSpec(fill=fill), images)
        windows = larger.unfold(2, 12, 1).unfold(3, 15, 1)  # (B, C, 9, 9, H, W)
        found = (windows == changed[:, :, None, None]).all(5).all(4).all(1)
        assert found.flatten(1).any(1).all()
    assert place_around(3, 2, "mirror").tolist() == [2, 1, 0, 1, 2, 1, 0]


def test_a_quarter_turn_is_that_of_torch_and_a_full_one_changes_nothing() -> None:
    square = make_inputs("image")[:, :, :, :12]
    quarter = torch.full((ROWS,), math.pi / 2)
    torch.testing.assert_close(
        turn(square, quarter), torch.rot90(square, 1, (2, 3)).float(), atol=0.01, rtol=0
    )
    oblong = make_inputs("image")
    torch.testing.assert_close(turn(oblong, 4 * quarter), oblong.float(), atol=0.01, rtol=0)


def test_a_turn_keeps_right_angles_in_an_oblong_image() -> None:
    """A cross turned by 45 degrees: its four ends stay equally far from the middle."""
    images = torch.zeros(1, 1, 41, 61)
    for down, right in ((-12, 0), (12, 0), (0, -12), (0, 12)):
        images[0, 0, 20 + down - 1 : 20 + down + 2, 30 + right - 1 : 30 + right + 2] = 255
    turned = turn(images, torch.tensor([math.pi / 4]))[0, 0]
    side = round(12 / math.sqrt(2))
    for down in (-side, side):
        for right in (-side, side):
            assert turned[20 + down, 30 + right] > 200


def test_colours_are_blended_as_pillow_does_it() -> None:
    images = make_inputs("image").float()
    grey = to_grey(images)
    luma = 0.299 * images[:, 0] + 0.587 * images[:, 1] + 0.114 * images[:, 2]
    torch.testing.assert_close(grey[:, 0], luma)
    ones = torch.ones(ROWS)
    torch.testing.assert_close(blend(images, grey, ones), images)
    torch.testing.assert_close(blend(images, grey, 0 * ones), grey.expand_as(images))
    bright, _ = augment(ColourSpec(brightness=0.5, contrast=0.0), torch.full((200, 1, 4, 4), 100.0))
    assert 50 <= bright.min() < 60
    assert 140 < bright.max() <= 150
    assert torch.equal(bright.amin((1, 2, 3)), bright.amax((1, 2, 3)))


def test_contrast_keeps_the_mean_and_saturation_keeps_grey() -> None:
    images = torch.full((50, 3, 4, 4), 100.0)
    images[:, :, 0] = 140.0
    changed, _ = augment(ColourSpec(brightness=0.0, contrast=0.5), images)
    torch.testing.assert_close(changed.mean((2, 3)), images.mean((2, 3)))
    changed, _ = augment(ColourSpec(brightness=0.0, contrast=0.0, saturation=1.0), images)
    torch.testing.assert_close(changed, images)


def test_cutout_hides_one_square_that_may_lie_partly_outside() -> None:
    images = torch.full((300, 3, 12, 15), 9, dtype=torch.uint8)
    hidden = augment(CutoutSpec(size=4), images)[0] == 0
    assert torch.equal(hidden[:, 0], hidden[:, 2])
    counts = hidden[:, 0].flatten(1).sum(1)
    assert counts.max() == 16
    assert 4 <= counts.min() < 16
    middle = hidden[:, 0, 5, 7].float().mean()
    assert 16 / 180 / 2 < middle < 16 / 180 * 2


# ---------------------------------------------------------------- mixup


def test_mixup_adds_two_rows_and_their_losses_by_one_share() -> None:
    rows = make_inputs("table")
    mixed, targets = augment(MixupSpec(alpha=1.0), rows)
    assert isinstance(targets, Mixed)
    share, partner = targets.share, targets.others
    assert 0 < share < 1
    assert torch.equal(partner.sort().values, torch.arange(ROWS))
    torch.testing.assert_close(mixed, share * rows + (1 - share) * rows[partner])
    outputs = torch.randn(ROWS, ROWS)
    loss = torch.nn.functional.cross_entropy
    expected = share * loss(outputs, torch.arange(ROWS)) + (1 - share) * loss(outputs, partner)
    torch.testing.assert_close(targets.measure(loss, outputs), expected)


def test_the_shares_of_mixup_are_those_of_a_beta_distribution() -> None:
    for alpha in (0.2, 1.0, 5.0):
        augmenter = Augmenter([registry.build_augment(MixupSpec(alpha=alpha))], 0)
        made = [augmenter.apply(torch.zeros(2, 1), torch.zeros(2), step)[1] for step in range(2000)]
        shares = torch.tensor([each.share for each in made if isinstance(each, Mixed)])
        assert shares.mean() == pytest.approx(0.5, abs=0.04)
        assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.15)


def test_mixed_targets_are_divided_as_rows_are() -> None:
    parts = split_targets(Mixed(torch.arange(5), torch.arange(5) + 5, 0.3), 2)
    assert [len(part) for part in parts] == [2, 2, 1]
    assert isinstance(parts[2], Mixed)
    assert (parts[2].targets.tolist(), parts[2].others.tolist()) == ([4], [9])


def test_the_longer_of_two_mixed_sequences_keeps_its_last_steps() -> None:
    pair = torch.tensor([[[1.0], [2.0], [3.0]], [[5.0], [torch.nan], [torch.nan]]])
    for step in range(20):
        mixed, targets = augment(MixupSpec(alpha=1.0), pair, step)
        assert isinstance(targets, Mixed)
        if targets.others[0] == 1:
            share = targets.share
            assert mixed[0].flatten().tolist() == pytest.approx([share + 5 * (1 - share), 2, 3])
            assert mixed[1, 0].item() == pytest.approx(5 * share + 1 - share)
            return
    raise AssertionError("twenty permutations of two, and none swaps them")


# ---------------------------------------------------------------- sequences, tables, tokens


def test_noise_has_the_deviation_that_was_asked_for() -> None:
    changed, _ = augment(NoiseSpec(std=0.3), torch.ones(1000, 20))
    assert changed.mean().item() == pytest.approx(1.0, abs=0.02)
    assert changed.std().item() == pytest.approx(0.3, rel=0.05)


def test_a_mask_hides_one_run_of_the_share_asked_for() -> None:
    sequences = make_inputs("sequence")
    lengths = (~sequences[:, :, 0].isnan()).sum(1)
    hidden = (augment(MaskSpec(share=0.4), sequences)[0] == 0).all(2)  # (B, T)
    assert torch.equal(hidden.sum(1), (lengths * 0.4).round().long())
    starts = (hidden & ~torch.nn.functional.pad(hidden, (1, 0))[:, :-1]).sum(1)
    assert starts.max() == 1
    reached = [(augment(MaskSpec(share=0.4), sequences, step)[0] == 0).all(2) for step in range(40)]
    last = torch.stack(reached).any(0)
    assert last[torch.arange(ROWS), lengths - 1][lengths > 2].float().mean() > 0.9


def test_a_mask_of_single_steps_hides_the_share_on_average() -> None:
    hidden = augment(MaskSpec(share=0.3, contiguous=False), torch.ones(500, 40, 2))[0] == 0
    assert torch.equal(hidden[:, :, 0], hidden[:, :, 1])
    assert hidden.float().mean().item() == pytest.approx(0.3, rel=0.05)


def test_word_dropout_makes_tokens_unknown_and_leaves_one_in_every_row() -> None:
    tokens = make_inputs("tokens")
    changed, _ = augment(WordDropoutSpec(probability=0.3), tokens.repeat(20, 1))
    there = tokens.repeat(20, 1) != 0
    assert (changed == 1)[there].float().mean().item() == pytest.approx(0.3, rel=0.15)
    most, _ = augment(WordDropoutSpec(probability=0.99), tokens)
    assert (most > 1).any(1).all()
    only, _ = augment(WordDropoutSpec(probability=0.9), torch.full((50, 1), 5))
    assert torch.equal(only, torch.full((50, 1), 5))


# ---------------------------------------------------------------- what does not fit


@pytest.mark.parametrize(
    ("spec", "shape", "part"),
    [
        (ShiftSpec(pixels=8), (1, 8, 9), "set pixels to at most 7"),
        (CropSpec(pixels=8), (1, 9, 8), "set pixels to at most 7"),
        (CutoutSpec(size=9), (3, 8, 9), "set size to at most 8"),
        (ColourSpec(saturation=0.1), (1, 8, 8), "set colour.saturation to 0"),
    ],
)
def test_an_image_too_small_or_grey_is_refused_with_the_fix(
    spec: Any, shape: tuple[int, ...], part: str
) -> None:
    assert part in spec.misfit(shape)
    assert spec.misfit((3, 10, 10)) is None


def test_the_largest_that_is_allowed_works() -> None:
    images = make_inputs("image")
    for spec in (ShiftSpec(pixels=11), CropSpec(pixels=11), CutoutSpec(size=12)):
        assert spec.misfit(images.shape[1:]) is None
        assert augment(spec, images)[0].shape == images.shape
