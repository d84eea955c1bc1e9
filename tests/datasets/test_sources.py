"""Several annotation files with their image folders, read as one list of sources, and their image files examined."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from PIL import Image as PillowImage

from datasets import checks
from datasets.errors import DataError
from datasets.images import Reading
from datasets.sources import Input, Inputs, examine_images, read_checked, read_inputs

Document = dict[str, Any]


class Lay(Protocol):
    """lay(name, document): writes NAME.json, the folder NAME and every image, 40 x 30 px and of one colour."""

    def __call__(self, name: str, document: Document, colour: str = "red") -> Input: ...


@pytest.fixture
def lay(tmp_path: Path) -> Lay:
    def lay(name: str, document: Document, colour: str = "red") -> Input:
        item = Input(tmp_path / f"{name}.json", tmp_path / name)
        item.images.mkdir()
        item.annotations.write_text(json.dumps(document))
        for image in document["images"]:
            path = item.images / image["file_name"]
            path.parent.mkdir(exist_ok=True)
            PillowImage.new("RGB", (40, 30), colour).save(path)
        return item

    return lay


def examined(inputs: Inputs, **options: Any) -> list[int]:
    return list(examine_images(inputs, inputs.sources, **options))


def test_ids_and_file_names_may_repeat_between_inputs(document: Document, lay: Lay) -> None:
    first = lay("first", document)
    document["annotations"] = document["annotations"][:1]
    document["annotations"][0]["bbox"] = [1, 2, 3, 4]
    second = lay("second", document, "blue")

    found = read_inputs([first, second])

    assert found.inputs == [first, second]
    assert [(source.input, source.image.id) for source in found.sources] == [(0, 5), (0, 9), (1, 5), (1, 9)]
    assert [[item.bbox[0] for item in source.annotations] for source in found.sources] == [[10, 0], [], [1], []]
    assert [source.path for source in found.sources] == [
        item.images / name for item in (first, second) for name in ("a.png", "sub/b.png")
    ]
    examined(found)
    colours = [PillowImage.open(source.path).getpixel((0, 0)) for source in found.sources]
    assert colours == [(255, 0, 0)] * 2 + [(0, 0, 255)] * 2


def test_an_input_may_be_given_twice(document: Document, lay: Lay) -> None:
    item = lay("first", document)

    assert len(read_inputs([item, item]).sources) == 2 + 2


def test_each_inputs_checksum_and_repairs_are_kept(document: Document, lay: Lay) -> None:
    first = lay("first", document)
    document["annotations"][1]["iscrowd"] = None
    second = lay("second", document)

    found = read_inputs([first, second])

    assert len(set(found.sha256)) == 2
    assert found.repairs.places == {checks.CROWD_MISSING: ["second.json $.annotations[1]"]}
    with pytest.raises(DataError, match=r"second\.json: 1 problem"):
        read_inputs([first, second], strict=True)


def test_category_lists_that_differ_are_refused_with_the_difference(document: Document, lay: Lay) -> None:
    first = lay("first", document)
    document["categories"] = [{"id": 1, "name": "person"}, {"id": 18, "name": "cat"}, {"id": 20, "name": "dog"}]
    second = lay("second", document)

    with pytest.raises(DataError, match="expected the same category ids and names, found") as caught:
        read_inputs([first, second])

    ours, theirs = first.annotations, second.annotations
    assert caught.value.problems == [
        f"{ours} has 18 'dog', {theirs} has not",
        f"{theirs} has 18 'cat', {ours} has not",
        f"{theirs} has 20 'dog', {ours} has not",
    ]


def test_categories_in_another_order_are_equal(document: Document, lay: Lay) -> None:
    first = lay("first", document)
    document["categories"].reverse()

    found = read_inputs([first, lay("second", document)])

    assert [category.id for category in found.categories] == [1, 18]


def test_a_missing_image_folder_is_named(document: Document, lay: Lay, tmp_path: Path) -> None:
    item = lay("first", document)

    with pytest.raises(DataError, match=r"none: expected the folder of the images, found none"):
        read_inputs([Input(item.annotations, tmp_path / "none")])
    with pytest.raises(DataError, match="expected the folder of the images"):
        read_inputs([Input(item.annotations, item.annotations)])


def test_examining_tells_how_to_read_each_file(document: Document, lay: Lay) -> None:
    found = read_inputs([lay("first", document)])

    assert examined(found) == [2]

    for source in found.sources:
        assert source.examined is not None
        assert source.examined.reading == Reading("PNG", 1, False)
        assert (source.examined.size, source.examined.mtime_ns) == (
            source.path.stat().st_size,
            source.path.stat().st_mtime_ns,
        )


def test_every_bad_image_file_is_listed_by_its_path(document: Document, lay: Lay) -> None:
    document["images"] += [
        {"id": 20 + index, "file_name": f"{index}.png", "width": 40, "height": 30} for index in range(5)
    ]
    found = read_inputs([lay("first", document)])
    paths = [source.path for source in found.sources[2:]]
    paths[0].unlink()
    paths[1].write_bytes(b"")
    paths[2].write_bytes(paths[2].read_bytes()[:-20])
    PillowImage.new("L", (30, 40)).save(paths[3])
    PillowImage.new("I;16", (40, 30)).save(paths[4])

    with pytest.raises(DataError, match=r"5 problem\(s\) in the image files") as caught:
        examined(found)

    expected = ("found none", "found 0 bytes", "cut short", "40 x 30 px as in the annotation file, found 30 x 40", "16")
    for problem, path, words in zip(caught.value.problems, paths, expected, strict=True):
        assert problem.startswith(f"{path}: expected ")
        assert words in problem
    assert [source.examined is None for source in found.sources] == [False] * 2 + [True] * 5


def test_many_missing_files_are_twenty_and_a_count(document: Document, lay: Lay) -> None:
    item = lay("first", document)
    document["images"] += [{"id": 20 + n, "file_name": f"{n}.png", "width": 4, "height": 3} for n in range(70)]
    item.annotations.write_text(json.dumps(document))

    with pytest.raises(DataError) as caught:
        examined(read_inputs([item]))

    assert (len(caught.value.problems), caught.value.count) == (20, 70)


def test_files_are_examined_in_chunks_by_any_map_that_keeps_the_order(document: Document, lay: Lay) -> None:
    document["images"] += [{"id": 20 + n, "file_name": f"{n}.png", "width": 40, "height": 30} for n in range(70)]
    found = read_inputs([lay("first", document)])
    sizes = []

    def run(work: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        for task in tasks:
            sizes.append(len(task))
            yield work(task)

    done = examined(found, run=run)

    assert sizes == [32, 32, 72 - 2 * 32]
    assert done == [32, 64, 72]
    assert all(source.examined for source in found.sources)


def test_an_orientation_that_is_taken_out_is_a_repair_and_an_error_when_strict(document: Document, lay: Lay) -> None:
    found = read_inputs([lay("first", document)])
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    PillowImage.new("RGB", (40, 30)).save(found.sources[1].path, exif=exif)

    examined(found)

    assert found.repairs.places == {checks.ORIENTATION_IGNORED: ["first.json sub/b.png"]}
    assert found.sources[1].examined is not None
    assert found.sources[1].examined.reading == Reading("PNG", 1, True)
    with pytest.raises(DataError, match=r"1 problem\(s\) that --strict does not repair"):
        read_checked(found.inputs, strict=True, progress=lambda *_: None)


def test_checking_reports_how_far_it_is(document: Document, lay: Lay) -> None:
    reported: list[tuple[str, int, int]] = []

    found = read_checked([lay("first", document)], strict=True, progress=lambda *state: reported.append(state))

    assert all(source.examined for source in found.sources)
    assert reported == [("checking", 2, 2)]


def test_bad_image_files_can_be_skipped_and_are_told(document: Document, lay: Lay) -> None:
    found = read_inputs([lay("first", document), lay("second", document)])
    found.sources[1].path.write_bytes(b"no picture")
    # Whole from its head to its end, but of nothing that could be decoded.
    data = bytearray(found.sources[2].path.read_bytes())
    pixels = data.index(b"IDAT") + 4
    data[pixels : pixels + 8] = bytes(8)
    found.sources[2].path.write_bytes(data)
    good = [found.sources[0], found.sources[3]]

    assert examined(found, skip_bad=True) == [4]

    assert found.sources == good
    assert [(item.input, item.id, item.file_name) for item in found.skipped] == [(0, 9, "sub/b.png"), (1, 5, "a.png")]
    assert [item.why.partition(",")[0] for item in found.skipped] == [
        "expected a JPEG or PNG file",
        "expected a whole PNG image",
    ]


def test_nothing_is_skipped_where_nothing_would_be_left(document: Document, lay: Lay) -> None:
    found = read_inputs([lay("first", document)])
    for source in found.sources:
        source.path.unlink()

    with pytest.raises(DataError, match=r"2 problem\(s\) in the image files") as caught:
        examined(found, skip_bad=True)
    assert caught.value.advice == "no image would be left; replace these files"


def test_an_image_whose_size_nothing_tells_is_refused_by_its_file_or_skipped(document: Document, lay: Lay) -> None:
    for image in document["images"]:
        del image["width"], image["height"]
    where = lay("first", document)
    bad = where.images / "a.png"
    bad.write_bytes(b"no picture")

    with pytest.raises(DataError) as caught:
        read_inputs([where], leniency=checks.STRICT)
    (problem,) = caught.value.problems
    assert problem.startswith("$.images[0]: expected a width and height of at least 1 px, or a file that tells them, ")
    assert "found none; a.png: expected a JPEG or PNG file, found " in problem
    assert caught.value.advice == "--skip-bad leaves out images that cannot be used, and counts them."

    # Its annotations go with it, and nothing is said of them.
    found = read_inputs([where], leniency=checks.Leniency(skip_bad=True))
    assert examined(found, skip_bad=True) == [1]
    assert [(source.image.id, source.annotations) for source in found.sources] == [(9, [])]
    assert [(item.input, item.id, item.file_name) for item in found.skipped] == [(0, 5, "a.png")]
    assert found.repairs.counts() == {checks.SIZE_FROM_FILE: 1}

    (where.images / "sub" / "b.png").write_bytes(b"")
    found = read_inputs([where], leniency=checks.Leniency(skip_bad=True))
    with pytest.raises(DataError, match=r"2 problem\(s\) in the image files") as caught:
        examined(found, skip_bad=True)
    assert caught.value.advice == "no image would be left; replace these files"
    assert caught.value.problems[0].startswith(f"{bad}: expected a JPEG or PNG file, found ")
