"""Pascal VOC's annotations as COCO's: boxes, ids and order, and XML that nobody should trust."""

from __future__ import annotations

from pathlib import Path

import hotcoco
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.errors import DataError
from datasets.records import BoxXYXY
from scripts.downloading.voc import Marked, clipped, names_listed, read_marked, to_coco

KNOWN = ("RBC", "WBC")
SIZE = (640, 480)


def item(name: str = "RBC", box: tuple[object, ...] = (10, 20, 30, 60)) -> str:
    corners = "".join(
        f"<{tag}>{value}</{tag}>" for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object><name>{name}</name><bndbox>{corners}</bndbox></object>"


def xml(*items: str, size: str = "<size><width>640</width><height>480</height></size>") -> bytes:
    return f"<annotation><filename>../elsewhere.jpg</filename>{size}{''.join(items)}</annotation>".encode()


def read(data: bytes) -> Marked:
    return read_marked(data, "a.jpg", SIZE, KNOWN)


def refused(data: bytes) -> str:
    with pytest.raises(ValueError, match=r"expected|not a well-formed") as caught:
        read(data)
    return str(caught.value)


# What comes out


def test_ids_count_up_in_the_order_of_pictures_and_of_their_objects() -> None:
    pictures = [
        Marked("a.jpg", 640, 480, [("WBC", (260, 177, 491, 376)), ("RBC", (504, 337, 504, 337))]),
        Marked("b.jpg", 640, 480, []),
        Marked("c.jpg", 640, 480, [("RBC", (78, 336, 184, 435))]),
    ]
    images, annotations = to_coco(pictures, {"RBC": 1, "WBC": 2})
    assert [(image.id, image.file_name, image.width, image.height) for image in images] == [
        (1, "a.jpg", 640, 480),
        (2, "b.jpg", 640, 480),
        (3, "c.jpg", 640, 480),
    ]
    # The point has no area and takes no id.
    assert [(item.id, item.image_id, item.category_id, item.bbox, item.area) for item in annotations] == [
        (1, 1, 2, (260, 177, 491 - 260, 376 - 177), 231 * 199),
        (2, 3, 1, (78, 336, 106, 99), 106 * 99),
    ]


def test_objects_are_read_in_file_order_and_the_name_in_the_file_is_not_used() -> None:
    marked = read(xml(item("WBC", (1, 2, 3, 4)), item("RBC", ("5.5", 6, 7, 8))))
    assert marked == Marked("a.jpg", 640, 480, [("WBC", (1, 2, 3, 4)), ("RBC", (5.5, 6, 7, 8))])


def test_a_picture_without_objects_and_a_file_without_size() -> None:
    assert read(xml(size="")).objects == []


def test_hotcoco_counts_pixels_from_1_and_this_does_not(tmp_path: Path) -> None:
    box = (260, 177, 491, 376)
    data = xml(item(box=box)).replace(b"../elsewhere", b"a")
    (tmp_path / "a.xml").write_bytes(data)
    (theirs,) = hotcoco.COCO.from_voc(str(tmp_path)).dataset["annotations"]
    (ours,) = to_coco([read(data)], {"RBC": 1})[1]
    x, y, width, height = ours.bbox
    assert theirs["bbox"] == [x - 1, y - 1, width + 1, height + 1]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((1, 1, 640, 480), (1, 1, 639, 479)),
        ((-5, 3, 9, 20), (0, 3, 9, 17)),
        ((600, 470, 700, 500), (600, 470, 40, 10)),
        ((504, 337, 504, 337), None),
        ((10, 20, 30, 20), None),
        ((640, 0, 700, 9), None),
        ((-9, 0, 0, 9), None),
    ],
)
def test_boxes_are_clipped(box: BoxXYXY, expected: object) -> None:
    assert clipped(box, *SIZE) == expected


@given(st.tuples(*[st.integers(-50, 150)] * 4))
def test_a_clipped_box_covers_the_pixels_of_the_box_in_the_picture(corners: tuple[int, int, int, int]) -> None:
    x0, x1, y0, y1 = *sorted(corners[:2]), *sorted(corners[2:])
    columns, rows = set(range(x0, x1)) & set(range(100)), set(range(y0, y1)) & set(range(80))
    box = clipped((x0, y0, x1, y1), 100, 80)
    if not columns or not rows:
        assert box is None
    else:
        assert box == (min(columns), min(rows), len(columns), len(rows))


# XML that cannot be used

BOMB = b"""<!DOCTYPE lol [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<annotation><object><name>&b;</name></object></annotation>"""
OUTSIDE = b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>'


@pytest.mark.parametrize("data", [BOMB, OUTSIDE, BOMB.decode().encode("utf-16")])
def test_entities_are_refused_in_any_encoding(data: bytes) -> None:
    assert refused(data) == "expected no document type declaration, found one"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a well-formed XML file: no element found"),
        (b"<annotation>", "not a well-formed XML file: no element found"),
        (b"\xff\xd8\xff\xe0", "not a well-formed XML file: not well-formed"),
        (b"<?xml version='1.0' encoding='nonsense'?><annotation/>", "not a well-formed XML file: "),
        (b"<html/>", "expected <annotation>, found <html>"),
        (xml(size="<size><width>64</width><height>480</height></size>"), "640 x 480, found 64 x 480"),
        (xml(size="<size><width>640</width></size>"), "expected <size/height>, found none"),
        (xml(item("Cell")), "object 1: expected <name> to be one of RBC, WBC, found 'Cell'"),
        (xml(item(), "<object><bndbox/></object>"), "object 2: expected <name> to be one of RBC, WBC, found ''"),
        (xml("<object><name>RBC</name></object>"), "object 1: expected <bndbox/xmin>, found none"),
        (xml(item(box=("", 1, 2, 3))), "expected <bndbox/xmin> to be a number, found ''"),
        (xml(item(box=(1, 2, 3, "nan"))), "expected <bndbox/ymax> to be a number, found 'nan'"),
        (xml(item(box=(1, 2, "1e400", 3))), "expected <bndbox/xmax> to be a number, found '1e400'"),
        (xml(item(box=(1, 2, "9" * 5000, 3))), f"to be a number, found '{'9' * 40}'"),
        (xml(item(box=(30, 2, 10, 3))), "expected xmin <= xmax and ymin <= ymax, found 30, 2, 10, 3"),
        (xml(item(box=(1, 20, 3, 10))), "expected xmin <= xmax and ymin <= ymax, found 1, 20, 3, 10"),
    ],
)
def test_what_cannot_be_used_is_named(data: bytes, said: str) -> None:
    assert said in refused(data)


# Names


def test_names_are_sorted_whatever_the_line_ends() -> None:
    assert names_listed("b_2\r\na_1\r\n\r\n", "val.txt") == ["a_1", "b_2"]


@pytest.mark.parametrize("name", ["../a", "a/b", "/etc/passwd", "..", ".a", "a\\b", "a b", "a 1", "a\0", "x" * 101])
def test_names_that_are_no_file_names_are_refused(name: str) -> None:
    with pytest.raises(DataError, match=r"val\.txt: 1 name\(s\) cannot be used\n  expected the name of an image"):
        names_listed(f"a\n{name}\n", "val.txt")


def test_a_name_twice_and_an_empty_list_are_refused() -> None:
    with pytest.raises(DataError, match="expected each name once, found 'a' twice"):
        names_listed("a\nb\na\n", "val.txt")
    with pytest.raises(DataError, match=r"val\.txt: expected names of images, found none"):
        names_listed(" \n\n", "val.txt")
