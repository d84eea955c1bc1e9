"""Results, the detections of a results file: as arrays, compared with a dataset's ids, and written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from datasets.errors import DataError
from datasets.records import MAX_ID

# Records that are encoded at once.
AT_ONCE = 4096


class Results(msgspec.Struct, frozen=True, eq=False):
    """N detections as parallel arrays, in any order; the dataset's own ids, boxes in pixels.

    `image_ids` and `category_ids` are (N,) int64, `boxes_xywh` is (N, 4) float64 with sizes of at least 0, `scores` is
    (N,) float64 from 0 to 1. `segmentations` are N pieces of JSON, empty for a detection without one, or None where no
    detection has one. Raises ValueError for anything else, so that no unreadable file is written.
    """

    image_ids: npt.NDArray[np.int64]
    category_ids: npt.NDArray[np.int64]
    boxes_xywh: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    segmentations: Sequence[bytes] | None = None

    def __post_init__(self) -> None:
        count = len(self.scores)
        _check_array("image_ids", self.image_ids, (count,), np.int64)
        _check_array("category_ids", self.category_ids, (count,), np.int64)
        _check_array("boxes_xywh", self.boxes_xywh, (count, 4), np.float64)
        _check_array("scores", self.scores, (count,), np.float64)
        if self.segmentations is not None and len(self.segmentations) != count:
            raise ValueError(f"segmentations: expected {count}, found {len(self.segmentations)}")
        for name, ids in (("image_ids", self.image_ids), ("category_ids", self.category_ids)):
            _check_values(name, ids, (ids >= -MAX_ID) & (ids <= MAX_ID), "ids of up to 2 ** 53")
        good = np.isfinite(self.boxes_xywh)
        good[:, 2:] &= self.boxes_xywh[:, 2:] >= 0
        _check_values("boxes_xywh", self.boxes_xywh, good, "finite numbers, sizes of at least 0")
        _check_values("scores", self.scores, (self.scores >= 0) & (self.scores <= 1), "scores from 0 to 1")

    def __len__(self) -> int:
        return len(self.scores)


def _check_array(name: str, array: npt.NDArray[Any], shape: tuple[int, ...], kind: type[np.generic]) -> None:
    if array.shape != shape or array.dtype != kind:
        raise ValueError(
            f"{name}: expected {np.dtype(kind)} of shape {shape}, found {array.dtype} of shape {array.shape}"
        )


def _check_values(name: str, array: npt.NDArray[Any], good: npt.NDArray[np.bool_], expected: str) -> None:
    if not good.all():
        first = int(np.argwhere(~good)[0, 0])
        raise ValueError(f"{name}[{first}]: expected {expected}, found {array[first]}")


def check_ids(
    path: Path, results: Results, image_ids: Sequence[int], category_ids: Sequence[int], annotations: Path
) -> None:
    """Raises DataError for ids that an annotation file lacks."""
    known = [np.array(sorted(ids), dtype=np.int64) for ids in (image_ids, category_ids)]
    problems = unknown_ids(results, *known)
    if problems:
        raise DataError(
            f"{path}: {len(problems)} id(s) that {annotations} does not have",
            problems,
            advice=_numbering_advice(results, category_ids),
        )


def _numbering_advice(results: Results, category_ids: Sequence[int]) -> str:
    """Advice where category ids that a dataset lacks look like positions; else empty."""
    count, ids = len(category_ids), results.category_ids
    if not len(ids) or not count or np.isin(ids, np.array(category_ids)).all():
        return ""
    for base in (0, 1):
        if ids.min() >= base and ids.max() < count + base:
            return f"If these are positions in the list of categories, from {base}: --category-ids contiguous{base}"
    return ""


def unknown_ids(results: Results, image_ids: npt.NDArray[np.int64], category_ids: npt.NDArray[np.int64]) -> list[str]:
    """The problems: each image and category id that is unknown, in the order of first occurrence."""
    return [
        *_unknown("image_id", "an image", results.image_ids, image_ids),
        *_unknown("category_id", "a category", results.category_ids, category_ids),
    ]


def _unknown(key: str, what: str, ids: npt.NDArray[np.int64], known: npt.NDArray[np.int64]) -> list[str]:
    (rows,) = np.nonzero(~np.isin(ids, known))
    unknown, first, counts = np.unique(ids[rows], return_index=True, return_counts=True)
    return [
        f"$[{rows[first[at]]}].{key}: expected the id of {what}, found {unknown[at]} ({counts[at]:,} detection(s))"
        for at in np.argsort(first)
    ]


def write(
    path: Path,
    results: Results,
    *,
    file_names: Mapping[int, str] | None = None,
    written: Callable[[Path], None] = lambda _: None,
) -> None:
    """Write the detections in their order, one a line, every number with all its digits.

    With `file_names`, by image id, `image_id` is the image's file name, as the VIPriors challenge expects. An existing
    file is replaced atomically; a missing folder is created. `written` is called with the path of the complete file
    before it is renamed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(b"[")
            for number, lines in enumerate(_lines(results, file_names)):
                file.write((b",\n" if number else b"\n") + lines)
            file.write(b"\n]\n")
        written(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class _Written(msgspec.Struct, gc=False):
    image_id: int | str
    category_id: int
    bbox: list[float]
    score: float


def _lines(results: Results, file_names: Mapping[int, str] | None) -> Iterator[bytes]:
    """The records, a line each, separated by commas; several at once where nothing is to be added to them."""
    encoder = msgspec.json.Encoder()
    columns = (results.image_ids, results.category_ids, results.boxes_xywh, results.scores)
    for start in range(0, len(results), AT_ONCE):
        ids, *others = (column[start : start + AT_ONCE].tolist() for column in columns)
        if file_names is not None:
            ids = [file_names[id_] for id_ in ids]
        lines = encoder.encode_lines(list(map(_Written, ids, *others)))[:-1]
        if results.segmentations is None:
            yield lines.replace(b"\n", b",\n")
        else:
            masks = results.segmentations[start : start + AT_ONCE]
            yield from map(_with_mask, lines.split(b"\n"), masks)


def _with_mask(line: bytes, segmentation: bytes) -> bytes:
    return line[:-1] + b',"segmentation":' + segmentation + b"}" if segmentation else line
