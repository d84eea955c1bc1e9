"""The annotations of chosen images: read from the annotation file by their places, checked as a build's are."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from augment.report.counted import AnnotationHead, Counted
from augment.report.finished import Finished, raise_faults
from datasets.checks import BOX_TOLERANCE, Repairs, TracedAnnotationJson, check_annotation
from datasets.cli import Progress
from datasets.errors import Problems
from datasets.parsing import explain, parse_records
from datasets.records import Annotation, Image
from datasets.stream import located_records, records_from

# Annotations between two steps of the progress bar.
STEP = 10_000


class Located(NamedTuple):
    """Of each image, the number and the first byte of its first annotation in the file, and how many it has."""

    first: dict[int, tuple[int, int]]
    counts: Counter[int]


def count_all(build: Finished, counted: Counted, progress: Progress) -> Located:
    """Add every annotation of a build to `counted`, in one pass. Raises DataError with those that no build has."""
    located = Located({}, Counter())
    problems = Problems()
    decoder = msgspec.json.Decoder(AnnotationHead)
    categories = {item.id for item in build.categories}
    for number, (offset, record) in enumerate(located_records(build.annotations, "annotations")):
        try:
            head = decoder.decode(record)
        except msgspec.ValidationError as error:
            problems.add(explain(error, msgspec.Raw(record), f"$.annotations[{number}]"))
            continue
        except msgspec.DecodeError as error:
            problems.add(f"$.annotations[{number}]: expected a JSON object, found one that is none: {error}")
            continue
        fault = _fault(head, build.images.get(head.image_id), categories)
        if fault is not None:
            problems.add(f"$.annotations[{number}]{fault}")
            continue
        located.first.setdefault(head.image_id, (number, offset))
        located.counts[head.image_id] += 1
        counted.add(head)
        if number % STEP == 0:
            progress("counting", len(located.first), len(build.images))
    raise_faults(build.annotations, build.folder, problems)
    return located


def _fault(head: AnnotationHead, image: Image | None, categories: set[int]) -> str | None:
    if image is None or head.category_id not in categories:
        found = f"image {head.image_id} and category {head.category_id}"
        return f": expected the ids of an image and a category, found {found}"
    _, _, width, height = head.bbox
    if width > image.width + BOX_TOLERANCE or height > image.height + BOX_TOLERANCE:
        return f".bbox: expected a box within its image of {image.width} x {image.height} px, found {width} x {height}"
    return None


def annotations_of(image_ids: Iterable[int], build: Finished, located: Located) -> dict[int, list[Annotation]]:
    """The annotations of each image. Raises DataError with those that no build has."""
    problems = Problems()
    found = {id_: list(_checked(id_, build, located, problems)) for id_ in image_ids}
    raise_faults(build.annotations, build.folder, problems)
    return found


def _checked(image_id: int, build: Finished, located: Located, problems: Problems) -> Iterator[Annotation]:
    if image_id not in located.first:
        return
    number, offset = located.first[image_id]
    lines = itertools.islice(records_from(build.annotations, offset), located.counts[image_id])
    raws = map(msgspec.Raw, lines)
    numbers = itertools.count(number)
    for json_path, record in parse_records(raws, TracedAnnotationJson, "annotations", problems, set(), numbers=numbers):
        if record.image_id != image_id:
            problems.add(f"{json_path}.image_id: expected {image_id} as of those before, found {record.image_id}")
            continue
        checked = check_annotation(record, json_path, build.images[image_id], Repairs(), problems)
        if checked is not None:
            yield checked
