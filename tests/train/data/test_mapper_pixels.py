"""Pixels as a model takes them, against Detectron2's own, and files that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, ImageOps
from PIL import Image as PillowImage

from datasets.errors import DataError
from datasets.images import Pixels
from tests.conftest import TURNED, Drawing, box, draw_coco, picture
from tests.train.conftest import small_config
from train import compat  # noqa: F401 - before detectron2
from train.data.geometry import Geometry
from train.data.mapper import InferenceMapper, TrainingMapper, apply_to_pixels, read_pixels
from train.data.read import TrainingData, read_training
from train.data.records import Record
from train.data.sampler import Key

# isort: split
from detectron2.data import DatasetMapper
from detectron2.data.detection_utils import read_image
from detectron2.data.transforms import HFlipTransform, ResizeTransform


def record(path: Path, width: int, height: int) -> Record:
    """An image without objects."""
    boxes, classes, ignored = np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.bool_)
    return Record(str(path), 5, width, height, boxes, classes, ignored, [])


def detectron2_pixels(pixels: Pixels, geometry: Geometry) -> Pixels:
    """(H, W, 3) by Detectron2's transforms, which resize with Pillow."""
    done = ResizeTransform(*pixels.shape[:2], geometry.height, geometry.width).apply_image(pixels)
    return np.asarray(HFlipTransform(geometry.width).apply_image(done) if geometry.mirrored else done)


def distance(tensor: torch.Tensor, pixels: Pixels) -> int:
    """Grey levels between (3, H, W) and (H, W, 3), where they are most apart."""
    mine = tensor.permute(1, 2, 0).numpy().astype(int)
    assert mine.shape == pixels.shape
    return int(np.abs(mine - pixels.astype(int)).max())


def by_id(data: TrainingData) -> dict[int, Record]:
    return {item.image_id: item for item in data.records}


@settings(deadline=None, max_examples=40)
@given(st.integers(8, 60), st.integers(8, 60), st.integers(60, 150), st.integers(60, 150), st.booleans())
def test_enlarged_pixels_are_those_of_detectron2(
    height: int, width: int, new_height: int, new_width: int, mirrored: bool
) -> None:
    pixels, geometry = picture(width, height, seed=height), Geometry(new_height, new_width, mirrored)

    found = apply_to_pixels(pixels, geometry)

    assert (found.dtype, found.is_contiguous()) == (torch.uint8, True)
    assert distance(found, detectron2_pixels(pixels, geometry)) <= 2


@pytest.mark.parametrize("mirrored", [False, True])
def test_pixels_of_the_same_size_are_the_same(mirrored: bool) -> None:
    pixels = picture(40, 30, seed=1)

    assert distance(apply_to_pixels(pixels, Geometry(30, 40, mirrored)), pixels[:, ::-1] if mirrored else pixels) == 0


def test_shrinking_takes_the_mean_and_skips_nothing() -> None:
    # A third of the columns is white: a mean of 255 / 3; by interpolation each would be black or white.
    pixels = np.zeros((60, 90, 3), dtype=np.uint8)
    pixels[:, ::3] = 255

    assert torch.equal(apply_to_pixels(pixels, Geometry(20, 30, False)), torch.full((3, 20, 30), 85).to(torch.uint8))


def test_the_channels_stay_in_order() -> None:
    pixels = np.full((10, 10, 3), (1, 2, 3), dtype=np.uint8)

    assert apply_to_pixels(pixels, Geometry(7, 20, True)).float().mean(dim=(1, 2)).tolist() == [1, 2, 3]


@pytest.mark.parametrize("height", [1, 2, 9])
@pytest.mark.parametrize("width", [1, 2, 9])
@pytest.mark.parametrize("size", [(1, 1), (1, 30), (30, 1), (13, 17)])
def test_the_smallest_pictures_are_resized_too(height: int, width: int, size: tuple[int, int]) -> None:
    pixels = np.full((height, width, 3), (10, 20, 30), dtype=np.uint8)

    found = apply_to_pixels(pixels, Geometry(*size, True))

    assert torch.equal(found, torch.tensor([10, 20, 30], dtype=torch.uint8)[:, None, None].expand(3, *size))


def test_resizing_leaves_its_input_alone() -> None:
    pixels = picture(40, 30, seed=1)
    before = pixels.copy()

    apply_to_pixels(pixels, Geometry(60, 80, True))

    assert np.array_equal(pixels, before)


@pytest.mark.parametrize("order", ["BGR", "RGB"])
def test_inference_sees_what_detectron2_would(drawn_data: TrainingData, order: str) -> None:
    # Enlarged: the sides of the drawn images are 60 to 120 px, one is 160 x 120 and is capped.
    cfg = small_config("tiny", "INPUT.MIN_SIZE_TEST", "150", "INPUT.MAX_SIZE_TEST", "190", "INPUT.FORMAT", order)
    mapper, stock = InferenceMapper(cfg), DatasetMapper(cfg, is_train=False)

    for item in drawn_data.records:
        if item.image_id == 21:  # Its annotations ignore its EXIF tag, which Detectron2 refuses.
            continue
        mapped = mapper(item)
        oracle = stock({"file_name": item.path, "height": item.height, "width": item.width})
        assert mapped.keys() == {"image", "height", "width", "image_id"}
        assert (mapped["height"], mapped["width"], mapped["image_id"]) == (item.height, item.width, item.image_id)
        assert distance(mapped["image"], oracle["image"].permute(1, 2, 0).numpy()) <= 3


def test_pictures_are_read_upright_grey_ones_in_three_channels(drawn_data: TrainingData, tmp_path: Path) -> None:
    turned = read_training(draw_coco(tmp_path, [TURNED]), keep_empty=True, masks=None, progress=None)
    records = by_id(drawn_data) | by_id(turned)

    for id_ in (12, TURNED.id, 31):  # grey, turned by EXIF, PNG
        pixels = read_pixels(records[id_], "BGR")
        assert pixels.shape == (records[id_].height, records[id_].width, 3)
        assert np.abs(pixels.astype(int) - read_image(records[id_].path, "BGR").astype(int)).max() <= 2
    assert np.ptp(read_pixels(records[12], "RGB"), axis=2).max() == 0
    assert np.array_equal(read_pixels(records[7], "RGB"), read_pixels(records[7], "BGR")[:, :, ::-1])


def test_an_orientation_that_the_annotations_ignore_is_ignored(drawn_data: TrainingData) -> None:
    item = by_id(drawn_data)[21]

    pixels = read_pixels(item, "RGB")

    with PillowImage.open(item.path) as stored:
        assert stored.getexif()[ExifTags.Base.Orientation] == 6
        assert pixels.shape == (64, 100, 3) == (*stored.size[::-1], 3)
        assert np.abs(pixels.astype(int) - np.asarray(stored).astype(int)).max() <= 2


def test_where_one_file_proves_stored_pixels_the_others_are_read_as_they_are_stored(tmp_path: Path) -> None:
    """180 degrees and squares keep their size; what the first process found is told to all of them."""
    open_ones = [
        Drawing(1, "half.jpg", 60, 40, [box(1, 5, 5, 20, 20)], orientation=3),
        Drawing(2, "square.jpg", 50, 50, [box(1, 5, 5, 20, 20)], orientation=6),
    ]
    proof = Drawing(3, "proof.jpg", 60, 40, [box(1, 5, 5, 20, 20)], orientation=6)
    for name, drawings in (("alone", open_ones), ("with a proof", [*open_ones, proof])):
        source = draw_coco(tmp_path / name, drawings)
        data = read_training(source, keep_empty=True, masks=None, progress=lambda *_: None)
        for item in data.records:
            with PillowImage.open(item.path) as stored:
                shown = stored if name != "alone" else ImageOps.exif_transpose(stored)
                assert np.abs(read_pixels(item, "RGB").astype(int) - np.asarray(shown).astype(int)).max() <= 2


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), "expected an image file, found none"),
        (lambda path: path.write_bytes(b"no picture"), "expected a JPEG or PNG file, found"),
        (
            lambda path: path.write_bytes(path.read_bytes()[:300]),
            "expected a whole PNG file, found one that was cut short at 300 bytes",
        ),
        (
            lambda path: PillowImage.new("RGB", (40, 31)).save(path),
            "expected 40 x 30 px as in the annotation file, found 40 x 31",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, spoil: Callable[[Path], object], message: str) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), picture(40, 30, seed=0))
    item = record(path, 40, 30)
    assert read_pixels(item, "RGB").shape == (30, 40, 3)
    spoil(path)
    cfg = small_config()

    mappers: list[Callable[[], object]] = [
        lambda: TrainingMapper(cfg, masks=False, seed=0)(item, Key(0, 0)),
        lambda: InferenceMapper(cfg)(item),
    ]
    for read in mappers:
        with pytest.raises(DataError) as caught:
            read()
        assert str(caught.value).startswith(f"{path}: {message}")
