"""Which categories are trained on: the paper's 34, a list of one's own, or the most frequent ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.errors import DataError
from datasets.records import Annotation, Category, Image
from datasets.sources import Source
from train.data import categories

NAMES = {1: "person", 3: "car", 18: "dog", 90: "toothbrush"}
# In no order.
KNOWN = [Category(id=id_, name=NAMES[id_]) for id_ in (18, 1, 90, 3)]
# In the order of the ids.
OBJECTS = np.array([10, 7, 0, 7], dtype=np.int64)


def chosen(wanted: str) -> list[str]:
    return [item.name for item in categories.choose(wanted, KNOWN, OBJECTS)]


def refusal(wanted: str) -> str:
    with pytest.raises(DataError) as caught:
        chosen(wanted)
    return str(caught.value)


def test_the_most_frequent() -> None:
    assert chosen("top:1") == ["person"]
    # Of equally many, the lower id.
    assert chosen("top:2") == ["person", "car"]
    assert chosen("top:3") == ["person", "car", "toothbrush"]
    assert chosen("top:4") == ["person", "car", "dog", "toothbrush"]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12), st.data())
def test_none_left_out_has_more_objects_than_one_that_is_in(counts: list[int], data: st.DataObject) -> None:
    known = [Category(id=at + 1, name=f"kind {at}") for at in range(len(counts))]
    number = data.draw(st.integers(1, len(counts)))
    found = [item.id - 1 for item in categories.choose(f"top:{number}", known, np.array(counts))]
    assert len(found) == number
    assert found == sorted(found)
    left = [count for at, count in enumerate(counts) if at not in found]
    assert not left or max(left) <= min(counts[at] for at in found)


@pytest.mark.parametrize("wanted", ["top:0", "top:5", "top:", "top:-1", "top:1.5", "top:two", "top:\u00b2"])
def test_no_such_number(wanted: str) -> None:
    assert refusal(wanted) == f"--categories {wanted}: expected top:1 to top:4"


def test_a_list_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("# animals\n\n  dog \nperson\ndog\n", encoding="utf-8")
    assert chosen(str(path)) == ["person", "dog"]


def test_every_unknown_name_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("person\ncarr\n\nzebra\n", encoding="utf-8")
    assert refusal(str(path)) == (
        f"{path}: 2 name(s) that the training data does not have\n  line 2: 'carr'; is 'car' meant?\n  line 4: 'zebra'"
    )
    path.write_text("# nothing\n", encoding="utf-8")
    assert refusal(str(path)) == f"{path}: expected the name of a category a line, found none"
    path.write_bytes(b"\xff\xfe")
    assert refusal(str(path)).startswith(f"{path}: not readable as text: ")


def test_what_is_neither_a_list_nor_a_number() -> None:
    for wanted in ("paper35", "", "/", "34"):
        assert refusal(wanted) == (
            f"--categories {wanted}: expected top:N, a text file or one of paper34, found none of these"
        )


def test_the_paper_s_list_ships() -> None:
    """Section 3.C.3 names 34, all of them COCO's."""
    lines = (categories.LISTS / "paper34.txt").read_text(encoding="utf-8").splitlines()
    names = [line for line in lines if not line.startswith("#")]
    assert len(set(names)) == len(names) == 34
    known = [Category(id=at + 1, name=name) for at, name in enumerate([*names, "hair drier"])]
    found = categories.choose("paper34", known, np.zeros(35, dtype=np.int64))
    assert [item.name for item in found] == names


def test_objects_of_other_categories_go_and_images_stay() -> None:
    objects = [
        Annotation(id=at, image_id=7, category_id=id_, bbox=(0, 0, 9, 9), area=81, iscrowd=crowd)
        for at, (id_, crowd) in enumerate([(1, 0), (3, 0), (3, 1), (18, 0), (1, 1)])
    ]
    image = Image(id=7, file_name="a.jpg", width=9, height=9)
    before = Source(0, image, objects, Path("a.jpg"))
    (after,) = categories.restricted([before], [KNOWN[1]])
    assert [item.id for item in after.annotations] == [0, 4]
    assert after.image is image
    assert len(before.annotations) == 5
    (none,) = categories.restricted([before], [KNOWN[2]])
    assert none.annotations == []
