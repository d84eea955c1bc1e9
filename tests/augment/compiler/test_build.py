"""A build on disk: what is there, where each image came from, and what becomes of unusual sources."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import ImageOps

from augment.operations.parameters import OPERATION_NAMES, Copy, Original, Recipe
from datasets.errors import DataError
from datasets.sources import Input
from tests.conftest import TURNED
from tests.protocols import Draw, Make

Read = Callable[[Path], dict[str, Any]]


def sha256sum(folder: Path) -> None:
    """What anybody would type to check a dataset."""
    if shutil.which("sha256sum") is None:
        pytest.skip("no sha256sum on this machine")
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, check=True)


@pytest.mark.parametrize("name", ["expanded", "balanced", "everything"])
def test_a_build_has_five_parts_and_digests_of_all(built: Callable[[str], Path], read: Read, name: str) -> None:
    folder = built(name)
    parts = {"images", "annotations", "sources.jsonl", "manifest.json", "SHA256SUMS"}
    assert {path.name for path in folder.iterdir()} == parts
    assert [path.name for path in (folder / "annotations").iterdir()] == ["instances.json"]
    sha256sum(folder)
    names = [line.split("  ", 1)[1] for line in (folder / "SHA256SUMS").read_text().splitlines()]
    images = [f"images/{image['file_name']}" for image in read(folder)["images"]]
    assert names == [*images, "annotations/instances.json", "sources.jsonl", "manifest.json"]
    assert sorted(images) == sorted(f"images/{path.name}" for path in (folder / "images").iterdir())


def test_expanded_makes_six_of_each(built: Callable[[str], Path], read: Read) -> None:
    found = Counter((image["source_id"], image["operation"]) for image in read(built("expanded"))["images"])
    sources = (7, 3, 12, 20, 21, 30, 31, 40)
    each = {"original": 1, "pixel": 1, "center_crop": 2, "random_crop": 2}
    assert found == {(source, operation): count for source in sources for operation, count in each.items()}


def test_balanced_copies_the_rare(built: Callable[[str], Path], read: Read) -> None:
    # 8 images, so a target of 4. Boxes: 1 toothbrush in image 31; 12 cars and 14 persons: floor(4 / 12) = 0.
    found = Counter((image["source_id"], image["operation"]) for image in read(built("balanced"))["images"])
    assert {key: count for key, count in found.items() if key[1] == "copy"} == {(31, "copy"): 4}
    assert found.total() == 8 + 4


def test_ids_count_from_one_and_references_are_good(built: Callable[[str], Path], read: Read) -> None:
    dataset = read(built("everything"))
    assert [image["id"] for image in dataset["images"]] == list(range(1, len(dataset["images"]) + 1))
    assert [item["id"] for item in dataset["annotations"]] == list(range(1, len(dataset["annotations"]) + 1))
    assert {item["image_id"] for item in dataset["annotations"]} <= {image["id"] for image in dataset["images"]}
    assert [category["id"] for category in dataset["categories"]] == [1, 3, 18, 90]
    assert dataset["licenses"][0]["name"] == "CC BY 2.0"


def test_every_image_says_where_it_came_from(built: Callable[[str], Path], read: Read, drawn: Input) -> None:
    sources = {image["id"]: image for image in json.loads(drawn.annotations.read_bytes())["images"]}
    for image in read(built("everything"))["images"]:
        source = sources[image["source_id"]]
        assert image["source_file_name"] == source["file_name"]
        assert image["operation"] in OPERATION_NAMES
        assert (image["license"], image["flickr_url"]) == (1, source["flickr_url"])
        assert ("window" in image) == image["operation"].endswith("crop")
        assert ("transform" in image) == ("seed" in image) == (image["operation"] in ("pixel", "copy"))
        x0, y0, x1, y1 = image.get("window", (0, 0, source["width"], source["height"]))
        assert (image["width"], image["height"]) == (x1 - x0, y1 - y0)


def test_every_annotation_names_its_source(built: Callable[[str], Path], read: Read, drawn: Input) -> None:
    dataset = read(built("everything"))
    images = {image["id"]: image for image in dataset["images"]}
    sources = {item["id"]: item for item in json.loads(drawn.annotations.read_bytes())["annotations"]}
    for item in dataset["annotations"]:
        source = sources[item["source_annotation_id"]]
        assert source["image_id"] == images[item["image_id"]]["source_id"]
        assert source["category_id"] == item["category_id"]
        if images[item["image_id"]]["operation"] in ("original", "pixel", "copy"):
            assert {key: item[key] for key in ("bbox", "area", "iscrowd", "segmentation")} == {
                key: source[key] for key in ("bbox", "area", "iscrowd", "segmentation")
            }


def test_files_are_what_their_records_say(built: Callable[[str], Path], read: Read, drawn: Input) -> None:
    folder = built("everything")
    for image in read(folder)["images"]:
        with PillowImage.open(folder / "images" / image["file_name"]) as picture:
            if image["operation"] != "original":
                assert picture.format == "JPEG"
                assert picture.mode == "RGB"
                assert picture.getexif() == {}
                assert picture.size == (image["width"], image["height"])
        source = drawn.images / image["source_file_name"]
        if image["operation"] == "original" and image["source_id"] != 21:
            assert (folder / "images" / image["file_name"]).read_bytes() == source.read_bytes()


def test_a_crop_shows_its_window_of_the_source(built: Callable[[str], Path], read: Read, drawn: Input) -> None:
    folder = built("expanded")
    for image in read(folder)["images"]:
        if image["source_id"] in (7, 20, 21, 40) and "window" in image:
            # The annotations of 21 do not follow its EXIF tag.
            whole = np.asarray(PillowImage.open(drawn.images / image["source_file_name"])).astype(int)
            x0, y0, x1, y1 = image["window"]
            shown = np.asarray(PillowImage.open(folder / "images" / image["file_name"])).astype(int)
            # JPEG of quality 95 moves these pictures by 2 levels on average; one pixel beside it would be over 10.
            assert np.abs(shown - whole[y0:y1, x0:x1]).mean() < 4


def test_an_exif_tag_that_its_annotations_follow_stays(draw: Draw, make: Make, read: Read, tmp_path: Path) -> None:
    source = draw(tmp_path / "data", [TURNED])
    folder = make(source, tmp_path / "out", "expanded").output
    original, pixel = (image for image in read(folder)["images"] if "window" not in image)
    assert (original["width"], original["height"]) == (pixel["width"], pixel["height"]) == (64, 100)
    whole = np.asarray(ImageOps.exif_transpose(PillowImage.open(source.images / TURNED.file_name))).astype(int)
    for image in read(folder)["images"]:
        if "window" in image:
            x0, y0, x1, y1 = image["window"]
            shown = np.asarray(PillowImage.open(folder / "images" / image["file_name"])).astype(int)
            assert np.abs(shown - whole[y0:y1, x0:x1]).mean() < 4
    with PillowImage.open(folder / "images" / original["file_name"]) as picture:
        assert (picture.size, picture.getexif()[0x0112]) == ((100, 64), 6)


def test_an_exif_tag_that_its_annotations_contradict_is_taken_out_and_counted(
    built: Callable[[str], Path], read: Read, drawn: Input
) -> None:
    folder = built("expanded")
    (original,) = (i for i in read(folder)["images"] if (i["source_id"], i["operation"]) == (21, "original"))
    copied = (folder / "images" / original["file_name"]).read_bytes()
    source = (drawn.images / original["source_file_name"]).read_bytes()
    assert len(copied) == len(source)
    # One number of the tag is another; everything else is the source's, byte for byte.
    assert [(old, new) for old, new in zip(source, copied, strict=True) if old != new] == [(6, 1)]
    with PillowImage.open(folder / "images" / original["file_name"]) as picture:
        assert picture.getexif()[0x0112] == 1
    (repair,) = json.loads((folder / "manifest.json").read_bytes())["repairs"].values()
    assert repair == {"count": 1, "places": ["annotations.json exif to ignore.jpg"]}


def test_strict_makes_an_error_of_that_repair(drawn: Input, make: Make, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)--strict does not repair.*exif to ignore\.jpg"):
        make(drawn, tmp_path / "out", strict=True)
    assert list(tmp_path.iterdir()) == []


def test_links_are_the_files_themselves_and_change_no_digest(
    draw: Draw, make: Make, read: Read, built: Callable[[str], Path], tmp_path: Path
) -> None:
    source = draw(tmp_path / "data")
    make(source, tmp_path / "out", link=True)
    for image in read(tmp_path / "out")["images"]:
        path = tmp_path / "out" / "images" / image["file_name"]
        linked = image["operation"] == "original" and image["source_id"] != 21
        assert path.samefile(source.images / image["source_file_name"]) == linked
    assert (tmp_path / "out" / "SHA256SUMS").read_bytes() == (built("expanded") / "SHA256SUMS").read_bytes()


def test_boxes_without_masks_are_enough(draw: Draw, make: Make, read: Read, tmp_path: Path) -> None:
    make(draw(tmp_path / "data", masks=False), tmp_path / "out")
    annotations = read(tmp_path / "out")["annotations"]
    assert not any("segmentation" in item for item in annotations)
    # Crowds and, from crops, ignored boxes.
    assert {item["iscrowd"] for item in annotations} == {0, 1}


def test_a_limit_takes_the_first_and_balances_by_all(drawn: Input, make: Make, read: Read, tmp_path: Path) -> None:
    # All 8 images have 12 cars and 14 persons; the first two would have 1 car and 3 persons.
    for number, (copy, expected) in enumerate(
        [
            (Copy(target_fraction=1.0, max_copies=50), {}),  # floor(8 / 12) = 0
            (Copy(target_boxes=28, max_copies=50), {7: 28 // 12, 3: 28 // 14}),
        ]
    ):
        out = tmp_path / str(number)
        make(drawn, out, Recipe(name="copies", operations=(Original(), copy)), limit=2)
        images = read(out)["images"]
        assert {image["source_id"] for image in images} == {7, 3}
        assert Counter(image["source_id"] for image in images if image["operation"] == "copy") == expected


def test_two_inputs_with_the_same_ids_and_names_do_not_collide(
    draw: Draw, make: Make, read: Read, tmp_path: Path
) -> None:
    first, second = draw(tmp_path / "a", only=(7, 12)), draw(tmp_path / "b", only=(7, 12))
    (second.images / "tall.jpg").write_bytes((second.images / "tall.jpg").read_bytes() + b"second")
    make([first, second], tmp_path / "out")
    images = read(tmp_path / "out")["images"]
    assert len({image["file_name"] for image in images}) == len({image["id"] for image in images}) == 2 * 2 * 6
    assert Counter((image["source_input"], image["source_id"]) for image in images) == {
        (number, source): 6 for number in (0, 1) for source in (7, 12)
    }
    originals = [image for image in images if (image["source_id"], image["operation"]) == (7, "original")]
    for item, image in zip((first, second), originals, strict=True):
        assert (tmp_path / "out" / "images" / image["file_name"]).read_bytes() == (
            item.images / "tall.jpg"
        ).read_bytes()


def test_other_category_lists_are_refused(draw: Draw, make: Make, tmp_path: Path) -> None:
    first, second = draw(tmp_path / "a", only=(7,)), draw(tmp_path / "b", only=(12,))
    second.annotations.write_text(second.annotations.read_text().replace("toothbrush", "hair drier"))
    with pytest.raises(DataError, match=r"(?s)same category ids and names.*90 'toothbrush'"):
        make([first, second], tmp_path / "out")


HOSTILE = [
    "größe 猫.jpg",
    "two\nlines.jpg",
    "back\\slash.jpg",
    ".hidden",
    "-rf *.jpg",
    "a/b/c/d.e.jpg",
    "l" * 250 + ".jpg",
]


def test_source_names_that_nobody_should_use_are_no_trouble(
    draw: Draw, make: Make, read: Read, check: Callable[[Path], Any], tmp_path: Path
) -> None:
    source = draw(tmp_path / "data", only=(7,))
    document = json.loads(source.annotations.read_bytes())
    document["images"] = [
        {**document["images"][0], "id": id_, "file_name": name} for id_, name in enumerate(HOSTILE, 7)
    ]
    for name in HOSTILE:
        (source.images / name).parent.mkdir(parents=True, exist_ok=True)
        (source.images / name).write_bytes((source.images / "tall.jpg").read_bytes())
    source.annotations.write_text(json.dumps(document))
    make(source, tmp_path / "out")
    sha256sum(tmp_path / "out")
    assert check(tmp_path / "out").images == len(HOSTILE) * 6
    found = read(tmp_path / "out")["images"]
    assert {image["source_file_name"] for image in found} == set(HOSTILE)
