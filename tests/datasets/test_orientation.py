"""One convention for the EXIF orientations of an input: what its files prove, what follows, what contradicts."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Protocol

import pytest
from PIL import Image as PillowImage

from datasets import checks, images
from datasets.errors import DataError
from datasets.images import Reading
from datasets.orientation import STORED, UPRIGHT, Evidence, follow, proves, weigh
from datasets.sources import Input, Inputs, examine_images, read_inputs

File = tuple[str, int, tuple[int, int], tuple[int, int]]
"""File name, orientation, stored size, recorded size."""


class Lay(Protocol):
    """lay(name, file, ...): an input of these pictures."""

    def __call__(self, name: str, *files: File) -> Input: ...


@pytest.mark.parametrize(
    ("reading", "size", "expected"),
    [
        (Reading("JPEG", 1, False), (40, 30), None),
        (Reading("JPEG", 1, True), (40, 30), STORED),
        (Reading("JPEG", 6, False), (40, 30), UPRIGHT),
        (Reading("JPEG", 8, False), (30, 40), UPRIGHT),
        # Turned by 180 degrees, mirrored, square: both sizes are the record's.
        (Reading("JPEG", 3, False), (40, 30), None),
        (Reading("JPEG", 2, False), (40, 30), None),
        (Reading("JPEG", 4, False), (40, 30), None),
        (Reading("JPEG", 6, False), (40, 40), None),
    ],
)
def test_what_a_file_proves(reading: Reading, size: tuple[int, int], expected: str | None) -> None:
    assert proves(reading, *size) == expected


def test_the_first_file_of_each_kind_is_the_evidence() -> None:
    files = [
        ("a", Reading("JPEG", 3, False), 40, 30),
        ("b", Reading("JPEG", 1, True), 40, 30),
        ("c", Reading("JPEG", 1, True), 40, 30),
    ]
    assert weigh(files) == Evidence(stored="b")
    assert weigh([*files, ("d", Reading("JPEG", 6, False), 30, 40)]) == Evidence("b", "d")
    assert weigh(files[:1]) == Evidence()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(40, 30), (40, 40)])
def test_following_a_convention_is_what_examine_does_when_it_is_told_it(
    orientation: int, size: tuple[int, int]
) -> None:
    """The parent decides with `follow` what a reader of single files, such as training, gets from `examine`."""
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    PillowImage.new("RGB", size).save(buffer, "JPEG", exif=exif)
    data = buffer.getvalue()
    for width, height in {size, size[::-1]}:
        try:
            alone = images.examine(data, width, height)
        except ValueError:
            continue
        for stored in (False, True):
            told = images.examine(data, width, height, on_stored_pixels=stored)
            assert follow(alone, width, height, on_stored_pixels=stored) == told


@pytest.fixture
def lay(tmp_path: Path) -> Lay:
    def lay(name: str, *files: File) -> Input:
        item = Input(tmp_path / f"{name}.json", tmp_path / name)
        item.images.mkdir()
        records = []
        for id_, (file_name, orientation, stored, (width, height)) in enumerate(files, start=1):
            exif = PillowImage.Exif()
            exif[0x0112] = orientation
            PillowImage.new("RGB", stored).save(item.images / file_name, exif=exif)
            records.append({"id": id_, "file_name": file_name, "width": width, "height": height})
        document = {"images": records, "categories": [{"id": 1, "name": "cat"}], "annotations": []}
        box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], "area": 25, "iscrowd": 0}
        item.annotations.write_text(json.dumps({**document, "annotations": [box]}))
        return item

    return lay


WIDE, TALL, SQUARE = (40, 30), (30, 40), (32, 32)
PROVES_STORED = ("stored.jpg", 6, WIDE, WIDE)
PROVES_UPRIGHT = ("upright.jpg", 6, WIDE, TALL)
OPEN = (("half.jpg", 3, WIDE, WIDE), ("mirrored.png", 2, WIDE, WIDE), ("square.jpg", 8, SQUARE, SQUARE))


def examined(*inputs: Input, skip_bad: bool = False) -> Inputs:
    found = read_inputs(list(inputs))
    for _ in examine_images(found, found.sources, skip_bad=skip_bad):
        pass
    return found


def orientations(inputs: Inputs) -> dict[str, int]:
    """File name -> the orientation that is applied."""
    found = {item.image.file_name: item.examined for item in inputs.sources}
    return {name: item.reading.orientation for name, item in found.items() if item is not None}


@pytest.mark.parametrize("at", [0, 3])
def test_where_one_file_proves_stored_pixels_all_follow_and_are_counted(lay: Lay, at: int) -> None:
    files = [*OPEN[:at], PROVES_STORED, *OPEN[at:]]

    found = examined(lay("data", *files))

    assert orientations(found) == {name: 1 for name, *_ in files}
    assert found.repairs.places == {checks.ORIENTATION_IGNORED: [f"data.json {name}" for name, *_ in files]}
    assert found.on_stored_pixels == {0}


@pytest.mark.parametrize("proof", [(), (PROVES_UPRIGHT,)])
def test_without_a_proof_and_with_one_for_upright_orientations_are_applied(lay: Lay, proof: tuple[()]) -> None:
    found = examined(lay("data", *OPEN, *proof))

    assert orientations(found) == {name: orientation for name, orientation, *_ in (*OPEN, *proof)}
    assert found.repairs.places == {}


def test_each_input_has_a_convention_of_its_own(lay: Lay) -> None:
    first, second = lay("first", PROVES_STORED, OPEN[0]), lay("second", PROVES_UPRIGHT, OPEN[1])

    found = examined(first, second)

    assert orientations(found) == {"stored.jpg": 1, "half.jpg": 1, "upright.jpg": 6, "mirrored.png": 2}


@pytest.mark.parametrize("skip_bad", [False, True])
def test_files_that_contradict_each_other_are_named_with_the_remedy(lay: Lay, skip_bad: bool) -> None:
    item = lay("data", PROVES_UPRIGHT, OPEN[0], PROVES_STORED)

    with pytest.raises(DataError, match=r"1 input\(s\) that cannot be read in one way") as caught:
        examined(item, skip_bad=skip_bad)

    (problem,) = caught.value.problems
    assert problem.startswith(f"{item.annotations}: expected one convention for EXIF orientations, found two")
    stored, upright = item.images / "stored.jpg", item.images / "upright.jpg"
    assert f"{stored} is annotated as it is stored and {upright} as it is shown upright" in problem
    assert "`exiftool -Orientation= FILE`" in problem
