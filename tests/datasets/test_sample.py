"""The drawn sample: the same bytes everywhere, and everything in it that it promises."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import ImageOps

from datasets import coco, images
from datasets.errors import DataError
from datasets.masks import rle_to_mask
from datasets.records import Rle
from datasets.sample import CROWDED, SPLITS, Split, write_sample
from datasets.sources import Input, read_checked

# Of all annotation files, then all images, in the order of their names.
SHA256 = "6ba7be97d787666c02a00b57182661bc4d795a1fcde7d7d3800e1005b734a39a"


def test_bytes_are_the_same_everywhere(sample: Path) -> None:
    digest = hashlib.sha256()
    for path in sorted(path for path in sample.rglob("*") if path.is_file()):
        digest.update(path.read_bytes())
    assert digest.hexdigest() == SHA256


@pytest.mark.parametrize(("name", "count"), [("train", 60), ("val", 20), ("test", 20)])
def test_splits_pass_the_check_without_repairs(sample: Path, name: str, count: int) -> None:
    item = Input(sample / "annotations" / f"instances_{name}.json", sample / name)
    inputs = read_checked([item], strict=True, progress=lambda *_: None)
    assert len(inputs.sources) == count
    objects = [annotation for source in inputs.sources for annotation in source.annotations]
    boxes = [annotation for annotation in objects if not annotation.iscrowd]
    per_category = {category.id: 0 for category in inputs.categories}
    for box in boxes:
        per_category[box.category_id] += 1
    assert len(per_category) == 8
    assert min(per_category.values()) >= 2
    assert max(per_category.values()) >= 8 * min(per_category.values()), "strongly unbalanced"
    assert sum(annotation.iscrowd for annotation in objects) >= 1
    assert any(annotation.area < 32**2 for annotation in boxes), "small objects"
    assert any(not source.annotations for source in inputs.sources), "an image without objects"
    cut = [
        box
        for source in inputs.sources
        for box in source.annotations
        if box.bbox[0] == 0 or box.bbox[0] + box.bbox[2] == source.image.width
    ]
    assert cut, "objects cut by the border"


def test_ids_do_not_repeat_between_splits(sample: Path) -> None:
    read = [coco.read(sample / "annotations" / f"instances_{split.name}.json").dataset for split in SPLITS]
    for field in ("images", "annotations"):
        ids = [item.id for dataset in read for item in getattr(dataset, field)]
        assert len(ids) == len(set(ids))


def test_one_image_is_grey_and_one_is_turned(sample: Path) -> None:
    modes, orientations = [], []
    for path in sorted((sample / "train").iterdir()):
        with PillowImage.open(path) as picture:
            modes.append(picture.mode)
            orientations.append(picture.getexif().get(274, 1))
    assert (modes.count("L"), modes.count("RGB")) == (1, 59)
    assert sorted(orientations) == [1] * 59 + [6]


def test_the_turned_image_agrees_with_its_annotations(sample: Path) -> None:
    document = json.loads((sample / "annotations" / "instances_train.json").read_text())
    record = document["images"][5]
    data = (sample / "train" / record["file_name"]).read_bytes()
    reading = images.examine(data, record["width"], record["height"])
    assert (reading.orientation, reading.strip_orientation) == (6, False)
    with PillowImage.open(sample / "train" / record["file_name"]) as picture:
        upright = np.asarray(ImageOps.exif_transpose(picture))
    assert np.abs(images.decode(data, reading).astype(int) - upright).max() <= 2


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match="expected a new or empty folder"):
        write_sample(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_what_lies_where_does_not_depend_on_what_it_looks_like(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.sample.SPLITS", [Split("train", 3, 0)])
    written = []
    for looks in (1, 2):
        monkeypatch.setattr("datasets.sample.LOOKS", looks)
        write_sample(tmp_path / str(looks))
        annotations, *pictures = sorted(path for path in (tmp_path / str(looks)).rglob("*.j*"))
        written.append((annotations.read_bytes(), [picture.read_bytes() for picture in pictures]))
    assert written[0][0] == written[1][0]
    assert not set(written[0][1]) & set(written[1][1])


def test_a_crowd_is_a_heap_of_leaves(sample: Path) -> None:
    dataset = coco.read(sample / "annotations" / "instances_train.json").dataset
    crowds = [annotation for annotation in dataset.annotations if annotation.iscrowd]
    assert [crowd.image_id for crowd in crowds] == [dataset.images[index].id for index in CROWDED]
    for crowd in crowds:
        assert isinstance(crowd.segmentation, Rle)
        assert not isinstance(crowd.segmentation.counts, str)
        rows, columns = np.nonzero(rle_to_mask(crowd.segmentation))
        x, y = columns.min(), rows.min()
        assert crowd.bbox == (x, y, columns.max() + 1 - x, rows.max() + 1 - y)
        # 24 leaves with a radius of 8 px, each 2.08 times its square, some beneath others.
        assert 0.5 * 24 * 2.08 * 8**2 < crowd.area < 24 * 2.08 * 8**2
