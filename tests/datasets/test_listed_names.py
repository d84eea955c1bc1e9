"""Results of a folder, joined with an annotation file by the names of the pictures."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from datasets import listed_names, picture_folder, provenance
from datasets.digests import sha256_file
from datasets.errors import DataError
from datasets.provenance import Provenance
from datasets.records import Category, Image
from datasets.results import Results
from tests.command_line import in_shell


def image(id_: int, name: str) -> Image:
    return Image(id=id_, file_name=name, width=10, height=10)


LISTED = [image(1, "a.jpg"), image(2, "sub/b.jpg"), image(3, "c.jpg")]


def results(*ids: int) -> Results:
    count = len(ids)
    return Results(np.array(ids), np.full(count, 7), np.tile([1.0, 1.0, 4.0, 4.0], (count, 1)), np.full(count, 0.5))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A results file with a list of its images beside it."""
    written = tmp_path / "found.json"
    picture_folder.write_list(written, LISTED, [Category(id=7, name="disc")])
    return written


def test_ids_follow_the_names(path: Path) -> None:
    own = [image(70, "b.jpg"), image(2, "a.jpg"), image(5, "c.jpg"), image(6, "d.jpg")]
    ids = listed_names.renumbering(own, results(2, 1, 1), path)
    # A folder of one's own before the name, or not.
    assert ids == {1: 2, 2: 70, 3: 5}
    assert listed_names.renumbered(results(2, 1, 1), ids).image_ids.tolist() == [70, 2, 2]


def test_the_same_names_under_the_same_ids_stay(path: Path) -> None:
    assert listed_names.renumbering(LISTED, results(1, 3), path) == {}
    assert listed_names.renumbered(results(1, 3), {}).image_ids.tolist() == [1, 3]


def test_without_a_list_ids_are_ids(tmp_path: Path) -> None:
    assert listed_names.renumbering([image(9, "a.jpg")], results(1), tmp_path / "other.json") == {}


def test_pictures_that_are_not_annotated_are_named(path: Path) -> None:
    with pytest.raises(
        DataError, match=r"2 image\(s\) of found.images.json whose names the annotation file does not"
    ) as caught:
        listed_names.renumbering([image(9, "a.jpg")], results(1, 2, 3), path)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["image 2", "image 3"]
    # Those without results do not matter.
    assert listed_names.renumbering([image(9, "a.jpg")], results(1), path) == {1: 9}


def test_the_command_joins_by_name(path: Path, tmp_path: Path) -> None:
    """With ids that are other pictures' here: by id, nothing would be found."""
    from datasets.__main__ import main

    objects = [
        {"id": at, "image_id": id_, "category_id": 7, "bbox": [at, 1, 4, 4], "area": 16, "iscrowd": 0}
        for at, id_ in ((1, 3), (2, 1))
    ]
    document = {
        "images": [{"id": 3, "file_name": "a.jpg"}, {"id": 1, "file_name": "b.jpg"}],
        "categories": [{"id": 7, "name": "disc"}],
        "annotations": objects,
    }
    (tmp_path / "val.json").write_text(json.dumps(document))
    found = [
        {"image_id": 1, "category_id": 7, "bbox": [1, 1, 4, 4], "score": 0.9},
        {"image_id": 2, "category_id": 7, "bbox": [2, 1, 4, 4], "score": 0.9},
    ]
    path.write_text(json.dumps(found))
    about = Provenance(results_sha256=sha256_file(path), models=(), images=3, seen_in_training=(1,), complete=True)
    provenance.write(path, about)
    asked = ("evaluate", "--annotations", tmp_path / "val.json", "--results", path, "--json")
    code, out, _ = in_shell(main, "python -m datasets", *asked)
    assert code == 0
    printed = json.loads(out)
    assert printed["ap"] == pytest.approx(1)
    assert printed["images_seen_in_training"] == 1


def test_a_list_of_an_earlier_prediction_is_removed(path: Path, tmp_path: Path) -> None:
    (tmp_path / "val.json").write_text("{}")
    listed = picture_folder.list_path(path)
    # Unless it is what was predicted on.
    picture_folder.forget_list(path, listed)
    assert listed.is_file()
    picture_folder.forget_list(path, tmp_path / "val.json")
    assert not listed.exists()
    picture_folder.forget_list(path, tmp_path / "val.json")
