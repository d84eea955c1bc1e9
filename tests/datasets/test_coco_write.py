"""Writing annotation files: what was read comes back, one record a line, and a file is there whole or not at all."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from datasets import coco
from datasets.masks import mask_to_rle, polygons_to_rle, rle_to_mask
from datasets.records import Annotation, Category, Dataset, Image, Rle
from datasets.stream import DatasetWriter, annotation_body
from tests.protocols import Read

# pycocotools 2.0 returns an array type that numpy 2 complains about.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

Document = dict[str, Any]


def unpacked(dataset: Dataset) -> Any:
    """The dataset as plain dicts and lists, which compare by value."""

    def lists(value: Any) -> Any:
        assert isinstance(value, np.ndarray)
        return value.tolist()

    return msgspec.to_builtins(dataset, enc_hook=lists)


WIDTH, HEIGHT = 13, 7
names = st.text(min_size=1).filter(lambda name: not set(name) & set("/\\\0:") and name not in (".", ".."))
numbers = st.floats(-1e6, 1e6) | st.floats(-1e6, 1e6, width=32) | st.integers(-100, 100).map(float)
bits = st.lists(st.integers(0, 1), min_size=WIDTH * HEIGHT, max_size=WIDTH * HEIGHT)
masks = bits.map(lambda values: np.array(values, dtype=np.uint8).reshape(HEIGHT, WIDTH))
texts = masks.map(lambda mask: Rle(mask.shape, coco_mask.encode(np.asfortranarray(mask))["counts"].decode()))


def compact(values: list[float]) -> Any:
    """As the reader keeps coordinates: float32 where that is exact."""
    exact = np.array(values)
    return exact.astype(np.float32) if np.array_equal(exact.astype(np.float32), exact) else exact


polygons = st.lists(st.lists(numbers, min_size=6, max_size=6).map(compact), min_size=1, max_size=3).map(tuple)
left, top = st.floats(0, WIDTH - 1), st.floats(0, HEIGHT - 1)
objects = st.builds(
    Annotation,
    id=st.integers(-(2**53), 2**53),
    image_id=st.sampled_from([2**53, -1]),
    category_id=st.sampled_from([0, 90]),
    bbox=st.tuples(left, top, st.floats(0.001, 1), st.floats(0.001, 1)),
    area=st.floats(1e-9, 1e12),
    iscrowd=st.sampled_from([0, 1]),
    segmentation=st.none() | polygons | masks.map(mask_to_rle) | texts,
    source_annotation_id=st.none() | st.integers(0, 2**53),
)
images = st.builds(
    Image,
    id=st.just(0),
    file_name=names,
    width=st.just(WIDTH),
    height=st.just(HEIGHT),
    license=st.none() | st.integers(0, 9) | st.text(),
    date_captured=st.none() | st.text(),
    source_file_name=st.none() | names,
    window=st.none() | st.just((0, 0, WIDTH, HEIGHT)),
    seed=st.none() | st.integers(0, 2**63 - 1),
)
datasets = st.builds(
    Dataset,
    info=st.dictionaries(st.text(), st.text() | st.integers(-(2**63), 2**63 - 1) | st.none(), max_size=3),
    licenses=st.lists(st.dictionaries(st.text(), st.text(), max_size=3), max_size=2),
    categories=st.tuples(st.text(), st.text()).map(
        lambda pair: [Category(id=90, name=pair[0]), Category(id=0, name=pair[1], supercategory="ü")]
    ),
    images=st.tuples(images, images).map(
        lambda pair: [msgspec.structs.replace(pair[0], id=2**53), msgspec.structs.replace(pair[1], id=-1)]
    ),
    annotations=st.lists(objects, min_size=1, max_size=3, unique_by=lambda annotation: annotation.id),
)


@given(datasets)
@settings(max_examples=150, deadline=None)
def test_what_was_written_is_read_back_equal(dataset: Dataset) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instances.json"
        coco.write(path, dataset)
        found = coco.read(path, provenance=True, strict=True)

        assert unpacked(found.dataset) == unpacked(dataset)
        coco.write(path, found.dataset)
        assert coco.read(path).sha256 == found.sha256


def test_a_document_is_written_with_the_same_content(document: Document, read: Read, tmp_path: Path) -> None:
    path = tmp_path / "written.json"

    coco.write(path, read(document).dataset)

    assert json.loads(path.read_bytes()) == document


def test_each_record_stands_on_a_line_of_its_own(document: Document, read: Read, tmp_path: Path) -> None:
    path = tmp_path / "written.json"

    coco.write(path, read(document).dataset)

    lines = path.read_text(encoding="utf-8").splitlines()
    records = [json.loads(line.rstrip(",")) for line in lines if line.startswith('{"id":')]
    assert records == document["images"] + document["annotations"]
    assert len(lines) == 1 + 1 + 2 + 1 + 2 + 1  # head, "images", two of them, "annotations", two of them, end


@pytest.mark.parametrize("count", [0, 1])
def test_a_dataset_of_few_or_no_records_is_json_too(count: int, tmp_path: Path) -> None:
    path = tmp_path / "written.json"
    image = Image(id=1, file_name="a.png", width=4, height=3)
    annotation = Annotation(id=1, image_id=1, category_id=1, bbox=(0, 0, 1, 1), area=1, iscrowd=0)

    coco.write(
        path, Dataset(info={}, licenses=[], categories=[], images=[image][:count], annotations=[annotation][:count])
    )

    found = json.loads(path.read_bytes())
    assert (len(found["images"]), len(found["annotations"])) == (count, count)


def test_what_a_record_does_not_have_is_not_written(document: Document, read: Read, tmp_path: Path) -> None:
    del document["annotations"][0]["segmentation"]
    path = tmp_path / "written.json"

    coco.write(path, read(document).dataset)

    found = json.loads(path.read_bytes())
    assert list(found["images"][1]) == ["id", "file_name", "width", "height"]
    assert list(found["annotations"][0]) == ["id", "image_id", "category_id", "bbox", "area", "iscrowd"]


def test_one_body_serves_many_images(document: Document, read: Read, tmp_path: Path) -> None:
    dataset = read(document).dataset
    body = annotation_body(dataset.annotations[0])
    path = tmp_path / "written.json"

    with DatasetWriter(path, {}, [], dataset.categories) as writer:
        writer.images(dataset.images)
        writer.annotations(5, 1, [body])
        writer.annotations(9, 2, [body, body])
        writer.annotations(5, 4, [])

    first, second, third = json.loads(path.read_bytes())["annotations"]
    assert first == document["annotations"][0] | {"id": 1, "image_id": 5}
    assert second == first | {"id": 2, "image_id": 9}
    assert third == second | {"id": 3}


@pytest.fixture(params=["new", "old"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A path whose writing fails in the test: what stood there stays, and nothing is added to the folder."""
    folder = tmp_path / "output"
    folder.mkdir()
    path = folder / "instances.json"
    if request.param == "old":
        path.write_text("older")
    before = [(item.name, item.read_text()) for item in folder.iterdir()]
    yield path
    assert [(item.name, item.read_text()) for item in folder.iterdir()] == before


IMAGE = Image(id=1, file_name="a.png", width=4, height=3)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_error_while_writing_leaves_no_file_and_keeps_an_older_one(error: type[BaseException], target: Path) -> None:
    def write() -> None:
        with DatasetWriter(target, {}, [], []) as writer:
            writer.images([IMAGE])
            assert target.with_name("instances.json.tmp").exists()
            raise error

    with pytest.raises(error):
        write()


def test_an_error_in_the_images_that_are_written_leaves_nothing(target: Path) -> None:
    def failing() -> Iterator[Image]:
        yield IMAGE
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"), DatasetWriter(target, {}, [], []) as writer:
        writer.images(failing())


def test_info_that_is_no_json_leaves_nothing(target: Path) -> None:
    with pytest.raises((TypeError, NotImplementedError)):
        coco.write(target, Dataset(info={"a": object()}, licenses=[], categories=[], images=[], annotations=[]))


def test_a_file_that_cannot_take_its_name_leaves_no_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "instances.json"
    path.mkdir()

    with pytest.raises(OSError, match="directory"):
        coco.write(path, Dataset(info={}, licenses=[], categories=[], images=[], annotations=[]))

    assert list(tmp_path.iterdir()) == [path]


def test_pycocotools_loads_what_is_written_and_sees_the_same_masks(
    document: Document, read: Read, tmp_path: Path
) -> None:
    mask = np.zeros((30, 40), dtype=np.uint8, order="F")
    mask[20:, 5:9] = 1
    text = coco_mask.encode(mask)["counts"].decode()
    extra = {"id": 7, "bbox": [5, 20, 4, 10], "segmentation": {"size": [30, 40], "counts": text}}
    document["annotations"].append(document["annotations"][1] | extra)
    dataset = read(document).dataset
    path = tmp_path / "written.json"
    coco.write(path, dataset)

    loaded = COCO(str(path))

    assert loaded.getImgIds() == [5, 9]
    assert loaded.getCatIds() == [1, 18]
    assert loaded.getAnnIds(imgIds=[5]) == [100, 101, 7]
    for annotation in dataset.annotations:
        rle = annotation.segmentation
        assert rle is not None
        ours = rle if isinstance(rle, Rle) else polygons_to_rle(rle, 30, 40)
        assert ours is not None
        assert np.array_equal(loaded.annToMask(loaded.loadAnns([annotation.id])[0]), rle_to_mask(ours))
    assert np.array_equal(loaded.annToMask(loaded.loadAnns([7])[0]), mask)
