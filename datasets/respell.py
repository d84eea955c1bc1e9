"""Other spellings of COCO's records, converted to its own form.

Pure functions on plain JSON values: a record goes in, and comes out in COCO's form with the kinds of the repairs. What
is not understood stays unchanged, for the parser to refuse.
"""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

NUMBER = "number in another spelling (text, 1.0, true), read"
NAME = "name that is a number, read as text"
FLAT_POLYGON = "polygon that is not in a list of polygons, read as the only one"
POINT_LIST = "polygon that is a list of points, read"
NO_BOX = "box that is empty, read as missing"
MASK_NOT_FINITE = "mask with numbers that are not finite, left out; the box stays"
NOT_FINITE = "box with numbers that are not finite, annotation left out"

_WHOLE = re.compile(r"\s*[-+]?\d{1,20}(?:\.0*)?\s*")
_DECIMAL = re.compile(r"\s*[-+]?(?:\d{1,30}(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d{1,3})?\s*")
# Far more points than any outline has.
_MIN_POINTS = 3


class Respelled(NamedTuple):
    """A record in COCO's form, None where it is left out, and the kinds of changes."""

    record: dict[str, Any] | None
    kinds: list[str]


def image(record: dict[str, Any]) -> Respelled:
    # null means missing; the size is then read from the image file, and counted there.
    respelled = _Record(
        {key: value for key, value in record.items() if key not in ("width", "height") or value is not None}
    )
    respelled.whole("id", "width", "height")
    return respelled.done()


def unnamed_image(record: dict[str, Any]) -> Respelled:
    """An image record for a command that opens no image file: neither name nor size is required."""
    respelled = image(record)
    assert respelled.record is not None
    name = respelled.record.get("file_name")
    return respelled._replace(record={**respelled.record, "file_name": name if isinstance(name, str) else ""})


def category(record: dict[str, Any]) -> Respelled:
    respelled = _Record(record)
    respelled.whole("id")
    name = record.get("name")
    if isinstance(name, (int, float)) and not isinstance(name, bool):
        respelled.put("name", str(name), NAME)
    return respelled.done()


def annotation(record: dict[str, Any]) -> Respelled:
    respelled = _Record(record)
    respelled.whole("id", "image_id", "category_id")
    respelled.put("iscrowd", as_flag(record.get("iscrowd")), NUMBER)
    respelled.put("area", as_number(record.get("area")), NUMBER)
    box = record.get("bbox")
    if box == []:
        respelled.put("bbox", None, NO_BOX)
    elif isinstance(box, list):
        numbers = [as_number(value) for value in box]
        if len(numbers) == 4 and any(value is None for value in numbers):
            return Respelled(None, [NOT_FINITE])
        respelled.put("bbox", numbers, NUMBER)
    _segmentation(respelled, record.get("segmentation"))
    return respelled.done()


def _segmentation(record: _Record, segmentation: Any) -> None:
    if isinstance(segmentation, dict):
        spelled = dict(segmentation)
        for key in ("size", "counts"):
            if isinstance(spelled.get(key), list):
                spelled[key] = [as_whole(value) for value in spelled[key]]
        record.put("segmentation", spelled, NUMBER)
    elif isinstance(segmentation, list) and segmentation:
        _polygons(record, segmentation)


def _polygons(record: _Record, segmentation: list[Any]) -> None:
    if not any(isinstance(part, (list, dict)) for part in segmentation):
        polygons, kind = [[as_number(value) for value in segmentation]], FLAT_POLYGON
    elif all(isinstance(part, list) for part in segmentation):
        polygons, kind = [[as_number(value) for value in part] for part in segmentation], NUMBER
        if len(polygons) >= _MIN_POINTS and all(len(part) == 2 for part in polygons):
            polygons, kind = [[value for part in polygons for value in part]], POINT_LIST
    else:
        return
    if any(value is None for polygon in polygons for value in polygon):
        record.put("segmentation", None, MASK_NOT_FINITE)
    else:
        record.put("segmentation", polygons, kind)


class _Record:
    """A copy of a record that notes its changes."""

    def __init__(self, record: dict[str, Any]) -> None:
        self._record = dict(record)
        self._kinds: dict[str, None] = {}

    def put(self, key: str, value: Any, kind: str) -> None:
        """Replace the value of an existing key, if value or type differ."""
        if key in self._record and not _same(self._record[key], value):
            self._record[key] = value
            self._kinds[kind] = None

    def whole(self, *keys: str) -> None:
        for key in keys:
            self.put(key, as_whole(self._record.get(key)), NUMBER)

    def done(self) -> Respelled:
        return Respelled(self._record, list(self._kinds))


def _same(one: Any, other: Any) -> bool:
    """Equality that includes types at every level: in Python, 1, 1.0 and True are equal."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    # NaN is not equal to itself.
    return type(one) is type(other) and bool(one == other or one is other)


def as_whole(value: Any) -> Any:
    """An int for 1.0, "1" and "1.0"; anything else unchanged."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value.partition(".")[0])
    return value


def as_flag(value: Any) -> Any:
    """0 or 1 in any spelling, "true" and "false" included; anything else unchanged."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return int(value.strip().lower() == "true")
    return as_whole(value)


def as_number(value: Any) -> Any:
    """A number for its text, None for a non-finite one; anything else unchanged."""
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        value = as_whole(value) if _WHOLE.fullmatch(value) else float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
