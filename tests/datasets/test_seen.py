"""Images that were trained on: known by what is in the file, or by id and name together."""

from __future__ import annotations

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets import coco
from datasets.build_layout import SOURCES
from datasets.digests import sha256_file
from datasets.errors import DataError
from datasets.records import Image
from datasets.seen import NOTHING, UNKNOWN, SeenImages, ids_in, seen_note, trained_on
from datasets.sources import Input
from tests.protocols import Draw

ROOT = Path(__file__).parents[2]
DIGEST = sha256(b"a picture").hexdigest()

ids, names, digests = st.integers(-3, 3), st.text("ab", max_size=1), st.sampled_from([None, "d", "e"])
seen_images = st.builds(
    lambda images, complete: SeenImages(images, complete=complete),
    st.lists(st.tuples(ids, names, digests), max_size=5),
    st.booleans(),
)


def test_where_both_files_are_known_their_digests_decide() -> None:
    seen = SeenImages([(7, "a.jpg", DIGEST)])
    # Whatever its id and name.
    assert seen.contains(8, "b.jpg", DIGEST)
    # Another image that happens to be called the same, as where each split is numbered from 1.
    assert not seen.contains(7, "a.jpg", sha256(b"another").hexdigest())
    assert not seen.contains(8, "b.jpg", sha256(b"another").hexdigest())


def test_where_a_file_is_not_known_id_and_name_together_decide() -> None:
    assert SeenImages([(7, "a.jpg", DIGEST)]).contains(7, "a.jpg")
    seen = SeenImages([(7, "a.jpg", None)])
    assert seen.contains(7, "a.jpg")
    assert seen.contains(7, "a.jpg", DIGEST)
    # Two datasets may number their images alike, or name them alike.
    for image in ((7, "b.jpg"), (8, "a.jpg")):
        assert not seen.contains(*image)
        assert not seen.contains(*image, DIGEST)


@given(seen_images, seen_images, st.tuples(ids, names, digests))
def test_joined_knows_what_either_knows(one: SeenImages, other: SeenImages, image: tuple[int, str, str | None]) -> None:
    joined = one.joined(other)
    assert joined.contains(*image) == (one.contains(*image) or other.contains(*image))
    assert joined.complete == (one.complete and other.complete)
    assert joined == other.joined(one)
    assert one.joined(NOTHING) == one


@given(seen_images)
def test_what_is_written_is_read(seen: SeenImages) -> None:
    assert SeenImages.from_plain(json.loads(json.dumps(seen.plain())), "a.pth") == seen


def test_a_file_that_does_not_say_is_not_complete() -> None:
    assert SeenImages.from_plain(None, "a.pth") == UNKNOWN
    assert not UNKNOWN.complete
    bad: Any
    for bad in ({}, [], {"images": [[1]], "complete": True}, {**NOTHING.plain(), "more": 1}):
        with pytest.raises(DataError, match=r"^a\.pth: what it says of the images it has seen cannot be read: "):
            SeenImages.from_plain(bad, "a.pth")


@pytest.mark.parametrize(
    ("seen", "images", "expected"),
    [
        (0, 20, ""),
        (20, 20, "seen in training"),
        (1, 20, "seen in training: 1 of 20 images"),
        (1234, 5000, "seen in training: 1,234 of 5,000 images"),
    ],
)
def test_what_is_said_of_an_ap(seen: int, images: int, expected: str) -> None:
    assert seen_note(seen, images) == expected


def test_training_data_is_a_build_or_an_annotation_file(drawn: Input, tmp_path: Path) -> None:
    line = {"input": 0, "id": 7, "file_name": "tall.jpg", "sha256": DIGEST}
    (tmp_path / SOURCES).write_text(json.dumps(line) + "\n", encoding="utf-8")
    assert trained_on([tmp_path]) == SeenImages([(7, "tall.jpg", DIGEST)])
    both = trained_on([tmp_path, drawn.annotations])
    assert {id_ for id_, _, _ in both.images} == {7, 3, 12, 20, 21, 30, 31, 40}
    assert both.digests == {DIGEST}
    assert trained_on([]) == NOTHING
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(
        DataError, match=rf"empty: expected a dataset that `python -m augment build` made, found no {SOURCES}"
    ):
        trained_on([empty])
    with pytest.raises(DataError):
        trained_on([tmp_path / "none.json"])


def test_images_are_found_by_their_files_where_the_folder_is_given(draw: Draw, tmp_path: Path) -> None:
    source = draw(tmp_path, only=(7, 12))
    images = [
        Image(id=1, file_name="tall.jpg", width=60, height=80),
        Image(id=12, file_name="grey.jpg", width=90, height=71),
        Image(id=2, file_name="missing.jpg", width=1, height=1),
    ]
    seen = SeenImages([(12, "grey.jpg", None), (99, "x.jpg", sha256_file(source.images / "tall.jpg"))])
    assert ids_in(seen, images) == {12}
    assert ids_in(seen, images, source.images) == {1, 12}
    with pytest.raises(DataError, match="none: expected the folder of the images, found none"):
        ids_in(seen, images, tmp_path / "none")


def test_what_augment_made_is_known_by_what_it_was_made_of(drawn: Input, tmp_path: Path) -> None:
    """The same files in both, under other names and with other bytes."""
    out = tmp_path / "out"
    line = [sys.executable, "-m", "augment", "build", "--annotations", str(drawn.annotations)]
    line += ["--images", str(drawn.images), "--output", str(out), "--limit", "2", "--workers", "1"]
    subprocess.run(line, check=True, capture_output=True, cwd=ROOT)
    instances = out / "annotations" / "instances.json"
    images = coco.read_images(instances).images
    assert len(images) == 12
    # Of the build, by its folder and by its file, and of the dataset that it was made of.
    for place in (out, instances, drawn.annotations):
        assert ids_in(trained_on([place]), images, out / "images") == {image.id for image in images}, place
    # A file of somebody else's may mean something else by the same keys.
    foreign = tmp_path / "foreign.json"
    foreign.write_text(json.dumps({"images": [{"id": 1, "file_name": "a", "width": 1, "height": 1, "source_id": "x"}]}))
    assert coco.read_images(foreign).images[0].source_id is None
