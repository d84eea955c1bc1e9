"""What `predict` refuses, naming every offender, before it builds a model; nothing is written then."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import pytest
import torch
from PIL import Image as PillowImage
from torch import nn

from datasets.errors import DataError
from tests.conftest import picture
from tests.train.made import content, quiet, tiny_config, write_list
from train import devices
from train.checkpoints import checkpoint
from train.devices import Gpus
from train.inference.predict import predict
from train.inference.request import Request
from train.model.build import build_network

CATEGORIES = [(1, "disc"), (8, "star"), (34, "bolt")]
SIZES = dict.fromkeys(range(1, 41), (20, 30))


def coco(*pairs: tuple[int, str]) -> list[dict[str, Any]]:
    return [{"id": id_, "name": name} for id_, name in pairs]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that is good as long as nobody loads its weights."""
    path = tmp_path_factory.mktemp("run") / checkpoint.BEST
    return checkpoint.save(path, content(nn.Linear(1, 1), tiny_config(3), CATEGORIES))


@pytest.fixture
def request_(weights: Path, tmp_path: Path) -> Request:
    """Good but for the weights: 40 images in two lots, and an output that stands there already."""
    (tmp_path / "images").mkdir()
    for id_, (height, width) in SIZES.items():
        PillowImage.fromarray(picture(width, height, id_)).save(tmp_path / "images" / f"{id_}.png")
    output = tmp_path / "results.json"
    output.write_text("old")
    return Request(weights, write_list(tmp_path / "images.json", SIZES), tmp_path / "images", output)


@pytest.fixture
def listed(request_: Request) -> Path:
    """The annotation file."""
    assert request_.annotations is not None
    return request_.annotations


class Refusal(Protocol):
    """refusal(tta=True): the error that such a request ends with, no model having been built and nothing written."""

    def __call__(self, **changed: Any) -> DataError: ...


@pytest.fixture
def refusal(monkeypatch: pytest.MonkeyPatch, request_: Request) -> Refusal:
    """refusal(tta=True): the error that such a request ends with, no model having been built and nothing written."""

    def build(*_: Any, **__: Any) -> nn.Module:
        raise AssertionError("a model was built")

    def refused(**changed: Any) -> DataError:
        monkeypatch.setattr("train.inference.predict.build_network", build)
        folder = request_.output.parent
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        with pytest.raises(DataError) as caught:
            predict(request_._replace(**changed), quiet)
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
        return caught.value

    return refused


def test_all_image_files_that_are_bad_are_named(refusal: Refusal, request_: Request) -> None:
    images = request_.images
    (images / "2.png").unlink()
    (images / "5.png").write_bytes((images / "5.png").read_bytes()[:-20])
    PillowImage.fromarray(picture(20, 30, 0)).save(images / "33.png")
    (images / "40.png").write_bytes(b"no picture")
    error = refusal()
    assert error.headline == f"{request_.annotations}: 4 problem(s) in the image files"
    assert [problem.partition(": ")[0] for problem in error.problems] == [
        str(images / f"{id_}.png") for id_ in (2, 5, 33, 40)
    ]
    assert error.problems[0].endswith(": expected an image file, found none")
    assert error.problems[2].endswith(": expected 30 x 20 px as in the annotation file, found 20 x 30")


def test_a_folder_that_is_not_there(refusal: Refusal, tmp_path: Path) -> None:
    folder = tmp_path / "none"
    assert str(refusal(images=folder)) == f"{folder}: expected the folder of the images, found none"


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        (CATEGORIES[:2], ["{ours} has 34 'bolt', {theirs} has not"]),
        ([*CATEGORIES, (2, "square")], ["{theirs} has 2 'square', {ours} has not"]),
        (
            [(1, "disc"), (8, "stars"), (33, "bolt")],
            [
                "{ours} has 8 'star', {theirs} has not",
                "{ours} has 34 'bolt', {theirs} has not",
                "{theirs} has 8 'stars', {ours} has not",
                "{theirs} has 33 'bolt', {ours} has not",
            ],
        ),
    ],
)
def test_other_categories_are_refused_with_every_difference(
    pairs: list[tuple[int, str]], expected: list[str], refusal: Refusal, request_: Request, listed: Path
) -> None:
    write_list(listed, SIZES, categories=coco(*pairs))
    error = refusal()
    assert error.headline == "expected the same category ids and names, found differences"
    names = {"ours": request_.checkpoint, "theirs": listed}
    assert error.problems == [line.format(**names) for line in expected]


def test_the_same_categories_in_another_order_are_the_same(refusal: Refusal, request_: Request, listed: Path) -> None:
    write_list(listed, SIZES, categories=coco(*reversed(CATEGORIES)))
    (request_.images / "2.png").unlink()
    # Found fault with only for the image.
    assert refusal().headline == f"{request_.annotations}: 1 problem(s) in the image files"


def test_a_bad_annotation_file(refusal: Refusal, listed: Path, tmp_path: Path) -> None:
    assert str(refusal(annotations=tmp_path / "none.json")).startswith(f"{tmp_path / 'none.json'}: ")
    listed.write_text("{")
    assert str(refusal()).startswith(f"{listed}: ")
    write_list(listed, {})
    assert str(refusal()) == f"{listed}: not a COCO dataset\n  $.images: expected at least one, found none"
    # Of a file that is there, a missing size would be read.
    write_list(listed, {99: (0, 20)})
    assert "$.images[0]: expected a width and height of at least 1 px, or a file that tells them" in str(refusal())


def test_a_bad_checkpoint(refusal: Refusal, tmp_path: Path) -> None:
    assert str(refusal(checkpoint=tmp_path)) == f"{tmp_path}: the checkpoint cannot be read: Is a directory"
    path = tmp_path / "a.pth"
    torch.save({"model": {}}, path)
    assert str(refusal(checkpoint=path)) == f"{path}: expected a checkpoint that this project made, found another file"
    checkpoint.save(path, content(nn.Linear(1, 1), tiny_config(3), CATEGORIES, config="SOLVER: {EPOCH: 1.0}"))
    assert str(refusal(checkpoint=path)).startswith(f"{path}: its configuration cannot be read: ")


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["INPUT.MIN_SIZE_TEST"], "expected KEY VALUE pairs, found 'INPUT.MIN_SIZE_TEST' without a value"),
        (["INPUT.MIN_SIZE", "5"], "INPUT.MIN_SIZE: Non-existent key"),
        (["INPUT.MIN_SIZE_TEST", "big"], "INPUT.MIN_SIZE_TEST: Type mismatch"),
    ],
)
def test_bad_overrides(overrides: list[str], expected: str, refusal: Refusal) -> None:
    for more in ({}, {"raw": True}, {"tta": True}):
        assert str(refusal(overrides=tuple(overrides), **more)).startswith(expected)


@pytest.mark.parametrize(
    ("more", "key", "value", "expected"),
    [
        ({}, "INPUT.MIN_SIZE_TEST", "0", "expected a size above 0, found 0"),
        ({"tta": True}, "TEST.AUG.MIN_SIZES", "[]", "expected sizes above 0, found []"),
        # Keys that this prediction would not look at.
        ({}, "TEST.AUG.MIN_SIZES", "[64]", "for --tta only"),
        ({"tile": 64}, "TEST.AUG.FLIP", "False", "for --tta only"),
        ({"tta": True}, "INPUT.MIN_SIZE_TEST", "64", "--tta has the sizes of TEST.AUG"),
    ],
)
def test_keys_that_do_not_fit(more: dict[str, Any], key: str, value: str, expected: str, refusal: Refusal) -> None:
    assert str(refusal(overrides=(key, value), **more)) == f"the configuration cannot be used\n  {key}: {expected}"


def test_a_gpu_that_is_not_there(refusal: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "find_gpus", lambda: Gpus(0, "no driver was found"))
    expected = "MODEL.DEVICE cuda: expected a GPU, found none: no driver was found; for the CPU, say MODEL.DEVICE cpu"
    assert str(refusal(overrides=("MODEL.DEVICE", "cuda"))) == expected


def test_an_output_that_cannot_be_written(refusal: Refusal, tmp_path: Path) -> None:
    assert str(refusal(output=tmp_path)) == f"{tmp_path}: expected the name of a file to write, found a folder"
    # Found out now, not after hours: there is a file where a folder should be.
    output = tmp_path / "results.json" / "deep" / "results.json"
    assert str(refusal(output=output)).startswith(f"{output}: cannot be written: ")


def test_weights_of_another_model_are_refused_and_nothing_is_written(request_: Request) -> None:
    with pytest.raises(DataError) as caught:
        predict(request_, quiet)
    assert str(caught.value).startswith(f"{request_.checkpoint}: its weights are not those of the model it names: ")
    assert request_.output.read_text() == "old"


def test_a_picture_that_only_its_pixels_spoil_ends_it_by_name(request_: Request, tmp_path: Path) -> None:
    """Its head and its end are good, so it is found out only when it is decoded."""
    path = request_.images / "3.png"
    data = bytearray(path.read_bytes())
    at = data.index(b"IDAT") + 4
    data[at : at + 40] = bytes(40)
    path.write_bytes(data)
    cfg = tiny_config(3)
    weights = checkpoint.save(tmp_path / "real.pth", content(build_network(cfg, seed=0), cfg, CATEGORIES))
    with pytest.raises(DataError) as caught:
        predict(request_._replace(checkpoint=weights), quiet)
    assert str(caught.value).startswith(f"{path}: ")
    assert request_.output.read_text() == "old"
    assert not request_.output.with_name("results.json.tmp").exists()


def test_without_a_moving_average_there_is_none_to_decline(refusal: Refusal, weights: Path) -> None:
    assert str(refusal(ema=False)) == (
        "--no-ema: expected a checkpoint with a moving average of the weights (SOLVER.EMA), found none in "
        f"{weights}; leave --no-ema out"
    )
