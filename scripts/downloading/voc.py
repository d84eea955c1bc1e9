"""Pascal VOC's annotations, an XML file an image, as COCO's. Pure: bytes in, records out.

Coordinates are taken as they stand: a box from xmin to xmax is xmax - xmin wide, and 0 is the picture's edge. VOC
itself counts pixels from 1 and includes the last one. hotcoco's converter goes by that, so its boxes begin a pixel
earlier and are a pixel wider than those that this project's results on BCCD are measured on; it also keeps boxes that
lie outside of their picture, and makes points one pixel large.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

from datasets.errors import DataError, Problems
from datasets.records import Annotation, BoxXYWH, BoxXYXY, Category, Image

CORNERS = ("xmin", "ymin", "xmax", "ymax")
_NUMBER = re.compile(r"\s*-?[0-9]{1,9}(\.[0-9]{1,9})?\s*", re.ASCII)
_FILE_STEM = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")


class Marked(NamedTuple):
    """An annotated picture: its file name, its size in pixels, and the (category name, box) of its objects."""

    file_name: str
    width: int
    height: int
    objects: list[tuple[str, BoxXYXY]]


class _WithoutEntities(TreeBuilder):
    """Refuses document type declarations: entities, which could grow without bounds, are declared in them alone."""

    def doctype(self, _name: str, _public: str | None, _system: str | None) -> None:
        raise ValueError("expected no document type declaration, found one")


def names_listed(text: str, where: str) -> list[str]:
    """The names in one of VOC's ImageSets, without suffix, sorted. Raises DataError for any that is unfit as a file's
    name, or comes twice.
    """
    names, problems = sorted(text.split("\n")), Problems()
    names = [name.strip() for name in names if name.strip()]
    for name, before in zip(names, ["", *names], strict=False):
        if not _FILE_STEM.fullmatch(name):
            problems.add(f"expected the name of an image without its suffix, found {name!r}")
        elif name == before:
            problems.add(f"expected each name once, found {name!r} twice")
    problems.raise_if_any(f"{where}: {{n}} name(s) cannot be used")
    if not names:
        raise DataError(f"{where}: expected names of images, found none")
    return names


def read_marked(data: bytes, file_name: str, size: tuple[int, int], known: Sequence[str]) -> Marked:
    """The objects of one XML file, for a picture of `size` (width, height) whose objects are of the categories `known`.

    Boxes are as written. Raises ValueError with what was expected and what was found.
    """
    root = _parsed(data)
    if root.tag != "annotation":
        raise ValueError(f"expected <annotation>, found <{root.tag}>")
    _check_size(root, size)
    objects = [_object(number, item, known) for number, item in enumerate(root.findall("object"), start=1)]
    return Marked(file_name, *size, objects)


def _parsed(data: bytes) -> Element:
    parser = XMLParser(target=_WithoutEntities())
    try:
        parser.feed(data)
        root: Element = parser.close()
    except (ParseError, LookupError) as error:  # the latter for an unknown encoding
        raise ValueError(f"not a well-formed XML file: {error}") from None
    return root


def _check_size(root: Element, size: tuple[int, int]) -> None:
    """Raise ValueError where the boxes are for a picture of another size; a file may leave it out."""
    if root.find("size") is not None:
        found = tuple(_number(root, f"size/{side}") for side in ("width", "height"))
        if found != size:
            raise ValueError(f"expected the picture's size, {size[0]} x {size[1]}, found {found[0]:g} x {found[1]:g}")


def _object(number: int, item: Element, known: Sequence[str]) -> tuple[str, BoxXYXY]:
    try:
        return _name(item, known), _corners(item)
    except ValueError as error:
        raise ValueError(f"object {number}: {error}") from None


def _name(item: Element, known: Sequence[str]) -> str:
    name = (item.findtext("name") or "").strip()
    if name not in known:
        raise ValueError(f"expected <name> to be one of {', '.join(known)}, found {name[:40]!r}")
    return name


def _corners(item: Element) -> BoxXYXY:
    x0, y0, x1, y1 = (_number(item, f"bndbox/{corner}") for corner in CORNERS)
    if x1 < x0 or y1 < y0:
        raise ValueError(f"expected xmin <= xmax and ymin <= ymax, found {x0:g}, {y0:g}, {x1:g}, {y1:g}")
    return x0, y0, x1, y1


def _number(item: Element, path: str) -> float:
    text = item.findtext(path)
    if text is None:
        raise ValueError(f"expected <{path}>, found none")
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"expected <{path}> to be a number, found {text[:40]!r}")
    return float(text)


def clipped(box: BoxXYXY, width: int, height: int) -> BoxXYWH | None:
    """The part of a box inside a picture of this size; None where it has no area."""
    x0, y0, x1, y1 = box
    left, top, right, bottom = max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
    return (left, top, right - left, bottom - top) if left < right and top < bottom else None


def to_coco(pictures: Sequence[Marked], categories: Mapping[str, int]) -> tuple[list[Image], list[Annotation]]:
    """Records of pictures in the order given and of their objects in that of the files, both numbered from 1.

    Boxes are clipped to their picture; objects without area are left out. `categories` are ids by name.
    """
    images, annotations = [], list[Annotation]()
    for number, (file_name, width, height, objects) in enumerate(pictures, start=1):
        images.append(Image(id=number, file_name=file_name, width=width, height=height, license=1))
        for name, box in objects:
            if inside := clipped(box, width, height):
                annotations.append(
                    Annotation(
                        id=len(annotations) + 1,
                        image_id=number,
                        category_id=categories[name],
                        bbox=inside,
                        area=inside[2] * inside[3],
                        iscrowd=0,
                    )
                )
    return images, annotations


def as_categories(ids: Mapping[str, int]) -> list[Category]:
    return [Category(id=number, name=name) for name, number in ids.items()]
