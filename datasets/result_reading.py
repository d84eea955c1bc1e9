"""Reading COCO results files: in COCO's own form, in other spellings, and as a server does."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from datasets import result_columns
from datasets.checks import Repairs
from datasets.errors import SHOWN, DataError, Problems
from datasets.parsing import decode, explain, read_bytes
from datasets.result_files import read_unpacked, split
from datasets.result_names import Names, NotKnownError, Numbering
from datasets.result_records import CATEGORY_NAME, NO_SEGMENTATION, DetectionJson, as_results, respelled
from datasets.results import Results

# The highest score of a file whose scores are percentages.
PERCENT = 100.0

_DECODER = msgspec.json.Decoder(DetectionJson)


def read(path: Path, names: Names | None = None, repairs: Repairs | None = None) -> Results:
    """Read and check a results file; an empty list is valid.

    The file may be gzipped or JSON lines, and name images by file name or stem and categories by name, where `names`
    has them; `repairs` gets what was not in COCO's own form. Ids are not compared with a dataset here. Raises DataError
    listing every offender with its place.
    """
    columns = _plain(path)
    if columns is not None:
        return columns
    data = read_unpacked(path)
    try:
        # All at once; only a file that is not in COCO's own form is parsed record by record.
        detections = decode(data, list[DetectionJson], path)
    except (msgspec.ValidationError, DataError):
        detections = _read_records(split(data, path), path, names or Names(), Repairs() if repairs is None else repairs)
    return as_results(detections)


def _plain(path: Path) -> Results | None:
    """The detections of a file in the plainest spelling; None for any other, and for one that cannot be read twice."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return result_columns.read(file)
    except OSError:
        return None


class Read(NamedTuple):
    """Results with a dataset's own ids, and the repairs made."""

    results: Results
    repairs: Repairs


def read_numbered(path: Path, names: Names, numbering: Numbering, category_ids: Sequence[int]) -> Read:
    """Read a file of this numbering of categories; `category_ids` are the dataset's. Raises DataError as `read`
    does.
    """
    repairs = Repairs()
    detections = read(path, names, repairs)
    if numbering != "ids" and CATEGORY_NAME in repairs.places:
        raise DataError(
            f"{path}: expected numbers of categories ({numbering}), found names", repairs.places[CATEGORY_NAME]
        )
    return Read(renumbered(detections, numbering, category_ids, path), repairs)


def read_strictly(path: Path, *, by_file_name: Mapping[str, int] | None = None) -> Results:
    """Read a results file as a server does: COCO's own form only.

    With `by_file_name`, `image_id` must be the file name of an image, and becomes its id. Raises DataError as `read`
    does.
    """
    data = read_bytes(path, "results file")
    if by_file_name is not None:
        data = _with_ids(data, path, by_file_name)
    columns = result_columns.read(io.BytesIO(data))
    if columns is not None:
        return columns
    try:
        detections = decode(data, list[DetectionJson], path)
    except msgspec.ValidationError:
        raise _refusal(data, path) from None
    return as_results(detections)


def _read_records(raws: list[msgspec.Raw], path: Path, names: Names, repairs: Repairs) -> list[DetectionJson]:
    """Each record in COCO's form. Raises DataError listing those that cannot be converted."""
    detections: list[DetectionJson] = []
    problems = Problems()
    highest = 0.0
    for index, raw in enumerate(raws):
        json_path = f"$[{index}]"
        record = _read_record(raw, json_path, names, repairs)
        if isinstance(record, str):
            problems.add(record)
            highest = max(highest, _score(raw))
        else:
            detections.append(record)
    advice = ""
    if 2 <= highest <= PERCENT:
        advice = "Scores above 1 look like percents; divide them by 100: jq '[.[] | .score /= 100]' FILE > NEW"
    problems.raise_if_any(f"{path}: {{n}} problem(s) in the results file", advice)
    return detections


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
        detection = msgspec.convert(record, DetectionJson)
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
    return detection


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
        unknown = np.unique(results.category_ids[outside])
        shown = ", ".join(str(id_) for id_ in unknown[:SHOWN])
        raise DataError(
            f"{path}: expected category ids from {base} to {len(ids) - 1 + base} ({numbering}), found {shown}"
        )
    return msgspec.structs.replace(results, category_ids=ids[positions])


def _with_ids(data: bytes, path: Path, by_file_name: Mapping[str, int]) -> bytes:
    """The same file with ids instead of file names. Raises DataError for names of no image."""
    try:
        records = decode(data, list[dict[str, msgspec.Raw]], path)
    except msgspec.ValidationError as error:
        raise DataError(f"{path}: expected COCO results, a JSON list of detections: {error}") from None
    problems = Problems()
    for index, item in enumerate(records):
        name = _text(item.get("image_id"))
        if name in by_file_name:
            item["image_id"] = msgspec.Raw(b"%d" % by_file_name[name])
        else:
            shown = bytes(item.get("image_id", b"none"))[:80].decode("utf-8", "replace")
            problems.add(f"$[{index}].image_id: expected the file name of an image, found {shown}")
    problems.raise_if_any(f"{path}: {{n}} problem(s) in the results file")
    return msgspec.json.encode(records)


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
