"""Reading, checking and writing COCO results files, JSON lists of detections."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from datasets.checks import Repairs
from datasets.errors import SHOWN, DataError, Problems
from datasets.parsing import decode, explain, read_bytes
from datasets.records import MAX_ID
from datasets.result_files import read_unpacked, split
from datasets.result_names import Names, NotKnownError, Numbering
from datasets.result_records import CATEGORY_NAME, NO_SEGMENTATION, DetectionJson, respelled

# The highest score of a file whose scores are percentages.
PERCENT = 100.0

_DECODER = msgspec.json.Decoder(DetectionJson)


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
        _check_values("boxes_xywh", self.boxes_xywh, np.all(good, axis=1), "finite numbers, sizes of at least 0")
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
        first = int(np.argmin(good))
        raise ValueError(f"{name}[{first}]: expected {expected}, found {array[first]}")


def read(path: Path, names: Names | None = None, repairs: Repairs | None = None) -> Results:
    """Read and check a results file; an empty list is valid.

    The file may be gzipped or JSON lines, and name images by file name or stem and categories by name, where `names`
    has them; `repairs` gets what was not in COCO's own form. Ids are not compared with a dataset here. Raises DataError
    listing every offender with its place.
    """
    data = read_unpacked(path)
    try:
        # All at once; only a file that is not in COCO's own form is parsed record by record.
        found = decode(data, list[DetectionJson], path)
    except (msgspec.ValidationError, DataError):
        found = _read_records(split(data, path), path, names or Names(), Repairs() if repairs is None else repairs)
    return _results(found)


class Read(NamedTuple):
    """Results with a dataset's own ids, and the repairs made."""

    results: Results
    repairs: Repairs


def read_numbered(path: Path, names: Names, numbering: Numbering, category_ids: Sequence[int]) -> Read:
    """Read a file of this numbering of categories; `category_ids` are the dataset's. Raises DataError as `read`
    does.
    """
    repairs = Repairs()
    found = read(path, names, repairs)
    if numbering != "ids" and CATEGORY_NAME in repairs.places:
        raise DataError(
            f"{path}: expected numbers of categories ({numbering}), found names", repairs.places[CATEGORY_NAME]
        )
    return Read(renumbered(found, numbering, category_ids, path), repairs)


def numbering_advice(results: Results, category_ids: Sequence[int]) -> str:
    """Advice where category ids that a dataset lacks look like positions; else empty."""
    count, found = len(category_ids), results.category_ids
    if not len(found) or not count or np.isin(found, np.array(category_ids)).all():
        return ""
    for base in (0, 1):
        if found.min() >= base and found.max() < count + base:
            return f"If these are positions in the list of categories, from {base}: --categories contiguous{base}"
    return ""


def read_strictly(path: Path, *, by_file_name: Mapping[str, int] | None = None) -> Results:
    """Read a results file as a server does: COCO's own form only.

    With `by_file_name`, `image_id` must be the file name of an image, and becomes its id. Raises DataError as `read`
    does.
    """
    data = read_bytes(path, "results file")
    if by_file_name is not None:
        data = _with_ids(data, path, by_file_name)
    try:
        found = decode(data, list[DetectionJson], path)
    except msgspec.ValidationError:
        raise _refusal(data, path) from None
    return _results(found)


def _results(found: list[DetectionJson]) -> Results:
    return Results(
        np.array([item.image_id for item in found], dtype=np.int64),
        np.array([item.category_id for item in found], dtype=np.int64),
        np.array([item.bbox for item in found], dtype=np.float64).reshape(-1, 4),
        np.array([item.score for item in found], dtype=np.float64),
        # Only where needed: they keep the text of the whole file in memory.
        [bytes(item.segmentation) for item in found]
        if any(item.segmentation is not NO_SEGMENTATION for item in found)
        else None,
    )


def _read_records(raws: list[msgspec.Raw], path: Path, names: Names, repairs: Repairs) -> list[DetectionJson]:
    """Each record in COCO's form. Raises DataError listing those that cannot be converted."""
    found: list[DetectionJson] = []
    problems = Problems()
    highest = 0.0
    for index, raw in enumerate(raws):
        json_path = f"$[{index}]"
        record = _read_record(raw, json_path, names, repairs)
        if isinstance(record, str):
            problems.add(record)
            highest = max(highest, _score(raw))
        else:
            found.append(record)
    advice = ""
    if 2 <= highest <= PERCENT:
        advice = "Scores above 1 look like percents; divide them by 100: jq '[.[] | .score /= 100]' FILE > NEW"
    problems.raise_if_any(f"{path}: {{n}} problem(s) in the results file", advice)
    return found


def _read_record(raw: msgspec.Raw, json_path: str, names: Names, repairs: Repairs) -> DetectionJson | str:
    """A detection, or what is wrong with it."""
    try:
        return _DECODER.decode(raw)
    except msgspec.ValidationError as error:
        problem = explain(error, raw, json_path)
    record: dict[str, Any] = {"bbox": None}
    kinds: list[str] = []
    try:
        record, kinds = respelled(msgspec.json.decode(raw, type=dict[str, Any]), names)
        # Kept raw.
        record["segmentation"] = _segmentation(raw)
        found = msgspec.convert(record, DetectionJson)
    except NotKnownError as unknown:
        return f"{json_path}{unknown}"
    except msgspec.ValidationError as error:
        if "bbox" not in record:
            return f"{json_path}.bbox: expected [x, y, width, height] or a mask to take it from, found neither"
        # What respelling did not repair may be the fault of another key than the first error's.
        return explain(error, raw, json_path) if kinds else problem
    except (msgspec.DecodeError, ValueError, RecursionError):
        return problem
    for kind in kinds:
        repairs.add(kind, json_path)
    return found


def _segmentation(raw: msgspec.Raw) -> msgspec.Raw:
    return msgspec.json.decode(raw, type=_OnlySegmentation).segmentation


class _OnlySegmentation(msgspec.Struct):
    segmentation: msgspec.Raw = NO_SEGMENTATION


class _OnlyScore(msgspec.Struct):
    score: float


def _score(raw: msgspec.Raw) -> float:
    try:
        return msgspec.json.decode(raw, type=_OnlyScore).score
    except msgspec.ValidationError:
        return 0.0


def renumbered(results: Results, numbering: Numbering, category_ids: Sequence[int], path: Path) -> Results:
    """Replace positions in the order of ids by the dataset's ids. Raises DataError for anything but a position."""
    if numbering == "ids":
        return results
    ids = np.array(sorted(category_ids), dtype=np.int64)
    base = int(numbering.removeprefix("contiguous"))
    positions = results.category_ids - base
    outside = (positions < 0) | (positions >= len(ids))
    if outside.any():
        found = np.unique(results.category_ids[outside])
        shown = ", ".join(str(id_) for id_ in found[:SHOWN])
        raise DataError(
            f"{path}: expected category ids from {base} to {len(ids) - 1 + base} ({numbering}), found {shown}"
        )
    return msgspec.structs.replace(results, category_ids=ids[positions])


def _with_ids(data: bytes, path: Path, by_file_name: Mapping[str, int]) -> bytes:
    """The same file with ids instead of file names. Raises DataError for names of no image."""
    try:
        found = decode(data, list[dict[str, msgspec.Raw]], path)
    except msgspec.ValidationError as error:
        raise DataError(f"{path}: expected COCO results, a JSON list of detections: {error}") from None
    problems = Problems()
    for index, item in enumerate(found):
        name = _text(item.get("image_id"))
        if name in by_file_name:
            item["image_id"] = msgspec.Raw(b"%d" % by_file_name[name])
        else:
            shown = bytes(item.get("image_id", b"none"))[:80].decode("utf-8", "replace")
            problems.add(f"$[{index}].image_id: expected the file name of an image, found {shown}")
    problems.raise_if_any(f"{path}: {{n}} problem(s) in the results file")
    return msgspec.json.encode(found)


def _text(raw: msgspec.Raw | None) -> str:
    try:
        return "" if raw is None else msgspec.json.decode(raw, type=str)
    except msgspec.ValidationError:
        return ""


def _refusal(data: bytes, path: Path) -> DataError:
    """The error that names every offender."""
    problems = Problems()
    try:
        raws = split(data, path)
    except DataError as error:
        return error
    for index, raw in enumerate(raws):
        problem = _strict_problem(raw, f"$[{index}]")
        if problem:
            problems.add(problem)
    headline = f"{path}: {problems.count} problem(s) in the results file"
    if not problems.count:
        headline = f"{path}: expected one JSON list of detections, found one a line; `ensemble fuse` writes a list"
    return DataError(headline, problems.kept, problems.count)


def _strict_problem(raw: msgspec.Raw, json_path: str) -> str:
    try:
        _DECODER.decode(raw)
    except msgspec.ValidationError as error:
        problem = explain(error, raw, json_path)
        by_name = problem.startswith(f"{json_path}.image_id: Expected `int`, got `str`")
        return f"{problem}; images go by their ids in the annotation file" if by_name else problem
    return ""


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
            advice=numbering_advice(results, category_ids),
        )


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
            file.write(b"[" + b",".join(b"\n" + line for line in _lines(results, file_names)) + b"\n]\n")
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
    encoder = msgspec.json.Encoder()
    ids: list[Any] = results.image_ids.tolist()
    if file_names is not None:
        ids = [file_names[id_] for id_ in ids]
    columns = (ids, *(item.tolist() for item in (results.category_ids, results.boxes_xywh, results.scores)))
    lines = (encoder.encode(_Written(*record)) for record in zip(*columns, strict=True))
    if results.segmentations is None:
        yield from lines
        return
    for line, segmentation in zip(lines, results.segmentations, strict=True):
        yield line[:-1] + b',"segmentation":' + segmentation + b"}" if segmentation else line
