"""The annotations of chosen images: read from the annotation file by their places, checked as a build's are."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec

from augment.report.counted import AnnotationHead, Counted
from augment.report.finished import Finished, raise_faults
from datasets.checks import Repairs, TracedAnnotationJson, check_annotation
from datasets.cli import Progress
from datasets.errors import Problems
from datasets.parsing import explain
from datasets.records import Annotation
from datasets.stream import located_records, records_from

# Annotations between two steps of the progress bar.
STEP = 10_000


class Located(NamedTuple):
    """The byte of the annotation file at which the first annotation of each image begins, and how many there are."""

    first: dict[int, int]
    numbers: Counter[int]


def count_all(build: Finished, counted: Counted, progress: Progress) -> Located:
    """Add every annotation of a build to `counted`, in one pass. Raises DataError with those that no build has."""
    located = Located({}, Counter())
    problems = Problems()
    decoder = msgspec.json.Decoder(AnnotationHead)
    categories = {item.id for item in build.categories}
    for number, (offset, record) in enumerate(located_records(build.annotations, "annotations")):
        try:
            head = decoder.decode(record)
        except msgspec.DecodeError as error:
            problems.add(f"$.annotations[{number}]: {error}")
            continue
        if head.image_id not in build.images or head.category_id not in categories:
            found = f"image {head.image_id} and category {head.category_id}"
            problems.add(f"$.annotations[{number}]: expected the ids of an image and a category, found {found}")
            continue
        located.first.setdefault(head.image_id, offset)
        located.numbers[head.image_id] += 1
        counted.add(head)
        if number % STEP == 0:
            progress("counting", len(located.first), len(build.images))
    raise_faults(build.annotations, build.folder, problems)
    return located


def annotations_of(image_ids: Iterable[int], build: Finished, located: Located) -> dict[int, list[Annotation]]:
    """The annotations of each image. Raises DataError with those that no build has."""
    problems = Problems()
    found = {id_: list(_checked(id_, build, located, problems)) for id_ in image_ids}
    raise_faults(build.annotations, build.folder, problems)
    return found


def _checked(image_id: int, build: Finished, located: Located, problems: Problems) -> Iterator[Annotation]:
    if image_id not in located.first:
        return
    image = build.images[image_id]
    lines = itertools.islice(records_from(build.annotations, located.first[image_id]), located.numbers[image_id])
    for number, line in enumerate(lines):
        json_path = f"annotation {number} of image {image_id}"
        try:
            parsed = msgspec.json.decode(line, type=TracedAnnotationJson)
        except msgspec.ValidationError as error:
            problems.add(explain(error, msgspec.Raw(line), json_path))
            continue
        if parsed.image_id != image_id:
            problems.add(
                f"{json_path}.image_id: expected annotations in the order of the images, found {parsed.image_id}"
            )
            continue
        checked = check_annotation(parsed, json_path, image, Repairs(), problems)
        if checked is not None:
            yield checked
