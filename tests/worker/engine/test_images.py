"""Pictures as inputs: read from where they lie, made one size, learned, predicted from files."""

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from tests.worker.conftest import (
    Recorder,
    Rows,
    make_image_rows,
    make_spec,
    next_attempt,
    stop_at,
    write_table,
)
from tests.worker.engine.test_bundle import call_apart, unpack
from worker.data.image import ImageInput, Images, recolour
from worker.data.table import read_columns
from worker.engine.errors import DataError
from worker.engine.request import Request
from worker.engine.run import run

Ask = Callable[..., Request]


def read_images(folder: Path, pictures: list[Any]) -> Images:
    rows = {"image": pictures, "y": [float(number) for number in range(len(pictures))]}
    table = write_table(folder / "table.parquet", rows)
    columns = read_columns(table.path, {"image": "image", "y": "number"}, threads=1)
    images = columns["image"]
    assert isinstance(images, Images)
    return images


def random_picture(*size: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)


# ---------------------------------------------------------------- reading


def test_pictures_of_one_size_come_back_as_they_are(tmp_path: Path) -> None:
    pictures = [random_picture(3, 5, 4, seed=number) for number in range(9)]
    images = read_images(tmp_path, pictures)
    rows = torch.tensor([7, 0, 3, 3])
    encoded = ImageInput("image", 3, 5, 4).encode(images.take(rows))
    assert torch.equal(encoded, torch.stack([pictures[row] for row in rows]))


def test_pictures_with_others_between_them_are_found_too(tmp_path: Path) -> None:
    pictures = [random_picture(1, 5, 4 + number % 3, seed=number) for number in range(9)]
    images = read_images(tmp_path, pictures)
    rows = torch.tensor([7, 1, 4])  # all of them 5 pixels wide
    encoded = ImageInput("image", 1, 5, 5).encode(images.take(rows))
    assert torch.equal(encoded, torch.stack([pictures[row] for row in rows]))


def test_a_missing_picture_is_known_by_its_row(tmp_path: Path) -> None:
    images = read_images(tmp_path, [random_picture(1, 2, 2), None, random_picture(1, 3, 3), None])
    assert images.find_missing() == [1, 3]
    assert images.take(torch.tensor([2, 1])).find_missing() == [1]


def test_a_picture_is_scaled_alike_whatever_stands_beside_it(tmp_path: Path) -> None:
    sizes = [(3, 20, 31), (1, 20, 31), (3, 7, 5), (3, 20, 31), (1, 12, 10), (1, 12, 10)] * 3
    pictures = [random_picture(*size, seed=number) for number, size in enumerate(sizes)]
    wanted = ImageInput("image", 3, 12, 10)
    together = wanted.encode(read_images(tmp_path, pictures))
    alone = [wanted.encode(wanted.read([picture])) for picture in pictures]
    assert torch.equal(together, torch.cat(alone))
    expected = F.interpolate(pictures[0][None].float(), (12, 10), mode="bilinear", antialias=True)
    assert (together[0] - expected).abs().max() <= 0.5001


def test_grey_is_what_pillow_takes_for_grey() -> None:
    picture = random_picture(3, 40, 50)
    image = Image.fromarray(picture.permute(1, 2, 0).numpy()).convert("L")
    assert recolour(picture[None], 1).flatten().tolist() == list(image.tobytes())


# ---------------------------------------------------------------- whole jobs

TEST = {"split": {}, "test_id": "ds_" + "1" * 32}
GREY = {"height": 9, "width": 8, "channels": 1}
JOBS: dict[str, dict[str, Any]] = {
    "cnn": {"model": {"type": "cnn", "over": "image"}},
    "cnn residual": {
        "model": {
            "type": "cnn",
            "over": "image",
            "channels": [6, 6, 6, 6],
            "residual": True,
            "pool": "average",
            "gather": "average",
            "kernels": [1, 3],
            "hidden": [5],
        }
    },
    "cnn colour": {
        "model": {"type": "cnn", "over": "image", "norm": "none"},
        "dataset": {"image": {"height": 6, "width": 6, "channels": 3}},
    },
    "mlp": {"model": {"type": "mlp"}, "dataset": {"image": GREY}},
}


def make_job(name: str, **training: Any) -> Any:
    optimizer = {"type": "adam", "lr": 0.01}
    return make_spec(
        model=JOBS[name]["model"],
        dataset=TEST | JOBS[name].get("dataset", {}),
        training={"epochs": 20, "batch_size": 16, "optimizer": optimizer} | training,
    )


@pytest.mark.parametrize("name", JOBS)
def test_images_are_learned_and_the_bundle_predicts_what_was_measured(
    ask: Ask, tmp_path: Path, name: str
) -> None:
    size = (3, 9, 8) if "colour" in name else (1, 9, 8)
    rows, test = make_image_rows(120, 0, size, gap=7), make_image_rows(40, 1, size, gap=5)
    request, recorder = ask(make_job(name), rows, test), Recorder()
    evaluation = run(request, recorder).evaluation
    assert evaluation is not None
    assert evaluation["test"]["accuracy"] >= 0.85
    losses = [value for series, _, value in recorder.points if series == "train/loss"]
    assert losses[-1] < losses[0] / 2
    folder = unpack(request, f"a1/s{evaluation['checkpoint_step']}", tmp_path / "bundle")
    paths = write_pictures(folder, test)
    pixels, files = predict_apart(folder, [*list_pixels(test), *paths], 40)
    right = sum(a == y for a, y in zip(files, test["y"], strict=True))
    assert right / 40 == pytest.approx(evaluation["test"]["accuracy"])
    assert pixels == files
    if name == "mlp":
        assert call_apart(folder, "predict.py", *paths) == files


def write_pictures(folder: Path, rows: Rows) -> list[str]:
    paths = [folder / f"{number}.png" for number in range(len(rows["image"]))]
    for path, picture in zip(paths, rows["image"], strict=True):
        to_pillow(picture).save(path)
    return [str(path) for path in paths]


def to_pillow(picture: Tensor) -> Image.Image:
    return Image.fromarray((picture[0] if len(picture) == 1 else picture.permute(1, 2, 0)).numpy())


def list_pixels(rows: Rows) -> list[Any]:
    """As nested lists, in the three orders that are understood."""
    turn = [lambda p: p, lambda p: p.permute(1, 2, 0), lambda p: p[0] if len(p) == 1 else p]
    return [turn[n % 3](picture).tolist() for n, picture in enumerate(rows["image"])]


def predict_apart(folder: Path, cells: list[Any], half: int) -> tuple[list[str], list[str]]:
    (folder / "rows.json").write_text(json.dumps([{"image": cell} for cell in cells]))
    code = (
        "import json, sys; sys.path.insert(0, '.'); from predict import load\n"
        "rows = json.load(open('rows.json'))\n"
        "print(*load('.').predict(rows), sep='\\n')"
    )
    answers = call_apart(folder, "-c", code)
    return answers[:half], answers[half:]


@pytest.mark.parametrize("name", JOBS)
def test_a_cut_changes_nothing_and_neither_does_running_again(ask: Ask, name: str) -> None:
    contents = []
    augment = [{"type": "shift", "pixels": 1}]
    for cut in (None, 11):
        spec = make_job(name, epochs=3, augment=augment, ema_decay=0.9)
        request = ask(spec, make_image_rows(gap=7), make_image_rows(20))
        if cut:
            run(request, stop_at(cut))
            request = next_attempt(request, request.folder / f"s{cut}")
        recorder = Recorder()
        run(request, recorder)
        (last,) = {each.name for each in recorder.checkpoints if each.step == 12} or {""}
        contents.append((request.folder.parent / last / "model.safetensors").read_bytes())
    assert contents[0] == contents[1]


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "muon", "rmsprop"])
def test_every_kind_of_optimizer_goes_on_where_it_was(ask: Ask, optimizer: str) -> None:
    """The weights of an image model lie in memory in another order than in a checkpoint."""
    contents = []
    momentum = {"momentum": 0.9} if optimizer in ("sgd", "rmsprop") else {}
    for cut in (None, 5):
        choice = {"type": optimizer, "lr": 0.01, **momentum}
        spec = make_job("cnn", epochs=2, optimizer=choice, l2=0.001, clip_norm=1.0)
        request = ask(spec, make_image_rows(), make_image_rows(20))
        if cut:
            run(request, stop_at(cut))
            request = next_attempt(request, request.folder / f"s{cut}")
        run(request, Recorder())
        contents.append((request.folder / "s8" / "model.safetensors").read_bytes())
    assert contents[0] == contents[1]


def test_a_part_of_the_pictures_may_be_named_by_a_column(ask: Ask) -> None:
    rows = make_image_rows(60)
    rows["part"] = ["train"] * 40 + ["validation"] * 10 + ["test"] * 10
    split = {"by": "column", "column": "part", "stratify": False}
    spec = make_spec(
        model={"type": "cnn", "over": "image"}, dataset={"split": split}, training={"epochs": 1}
    )
    evaluation = run(ask(spec, rows), Recorder()).evaluation
    assert evaluation is not None
    assert evaluation["rows"] == {"train": 40, "validation": 10, "test": 10}


def test_class_shares_are_kept_equal_in_every_part(ask: Ask) -> None:
    split = {"validation": 0.2, "test": 0.3, "stratify": True}
    spec = make_spec(
        model={"type": "cnn", "over": "image"}, dataset={"split": split}, training={"epochs": 1}
    )
    evaluation = run(ask(spec, make_image_rows(60)), Recorder()).evaluation
    assert evaluation is not None
    assert [each["support"] for each in evaluation["per_class"]] == [6, 6, 6]


def test_a_missing_picture_is_refused_by_its_row(ask: Ask) -> None:
    rows = make_image_rows()
    rows["image"][4] = None
    with pytest.raises(DataError, match="no picture in 1 rows, first in row 5"):
        run(ask(make_spec(model={"type": "cnn", "over": "image"}), rows), Recorder())


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"model": {"type": "logistic"}, "dataset": {"inputs": ["image"]}}, "cannot take as input"),
        ({"model": {"type": "mlp"}, "dataset": {"inputs": ["image", "a"]}}, "beside others"),
        ({"model": {"type": "mlp"}, "dataset": {"target": "image", "inputs": ["a"]}}, "predicts"),
    ],
)
def test_pictures_where_no_model_reads_them_are_refused(ask: Ask, parts: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        run(ask(make_spec(**parts), make_image_rows()), Recorder())


# ---------------------------------------------------------------- cells of a bundle


def save(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def test_a_cell_may_be_what_holds_pixels(tmp_path: Path) -> None:
    picture = random_picture(3, 6, 7)
    image = to_pillow(picture)
    path = tmp_path / "a.png"
    path.write_bytes(save(image))
    cells = [
        picture,
        picture.tolist(),
        picture.long(),
        picture.permute(1, 2, 0),
        picture.permute(1, 2, 0).numpy(),
        path,
        str(path),
        path.read_bytes(),
        image,
    ]
    wanted = ImageInput("image", 3, 6, 7)
    encoded = wanted.encode(wanted.read(cells))
    assert torch.equal(encoded, picture.expand(len(cells), -1, -1, -1))


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        (None, "is missing"),
        ("", "is missing"),
        ("nowhere.png", "no file 'nowhere.png'"),
        (b"something else", "damaged"),
        (torch.zeros(2, 2), "no whole numbers"),
        ([[0, 256]], "beyond 0 to 255"),
        ([[-1, 2]], "beyond 0 to 255"),
        ([1, 2, 3], r"shape \(3,\)"),
        (torch.zeros(4, 9, 9, dtype=torch.uint8), "shape"),
        ([[1], [2, 3]], "neither a picture"),
    ],
)
def test_a_cell_that_is_no_picture_is_refused_by_its_row(cell: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=f"column 'image', row 2: .*{problem}"):
        ImageInput("image", 1, 2, 2).read([[[0, 1], [2, 3]], cell])


def test_batch_norm_lets_one_place_alone_be(ask: Ask) -> None:
    """A picture of one pixel, and a last batch of one row."""
    model = {"type": "cnn", "norm": "batch", "channels": [3, 4]}
    size = {"height": 1, "width": 1, "channels": 1}
    split = {"validation": 0.0, "test": 0.0}
    spec = make_spec(
        model=model,
        dataset={"image": size, "split": split},
        training={"epochs": 1, "batch_size": 8},
    )
    assert run(ask(spec, make_image_rows(25)), Recorder()).evaluation is not None
