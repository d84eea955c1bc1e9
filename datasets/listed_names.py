"""Results of a folder of pictures, against an annotation file that numbers the same pictures in another way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from datasets import coco
from datasets.errors import Problems
from datasets.picture_folder import list_path
from datasets.records import Image
from datasets.result_names import Names, NotKnownError
from datasets.results import Results


def renumbering(images: Sequence[Image], results: Results, path: Path) -> dict[int, int]:
    """The ids that RESULTS.images.json gives to pictures -> those of `images` with the same names.

    Empty where there is no such list beside `path`, the results file, or where its ids are those of `images`. Raises
    DataError for pictures with results, or with one name between them, that `images` does not have.
    """
    beside = list_path(path)
    if not beside.is_file():
        return {}
    listed = {image.id: image.file_name for image in coco.read_images(beside, named=False).images}
    own = {image.id: image.file_name for image in images}
    used = set(results.image_ids.tolist()) & listed.keys()
    if all(own.get(id_) == listed[id_] for id_ in used):
        return {}
    known = Names(images)
    problems = Problems()
    ids: dict[int, int] = {}
    for id_, name in listed.items():
        found = _id_of(name, known)
        if isinstance(found, int) and found not in ids.values():
            ids[id_] = found
        elif id_ in used:
            problems.add(f"image {id_}: {found if isinstance(found, str) else f'{name!r} is that of another one, too'}")
    problems.raise_if_any(
        f"{path}: {{n}} image(s) of {beside.name} whose names the annotation file does not have",
        "Predict on the annotated images alone: --annotations with --images.",
    )
    return ids


def _id_of(name: str, known: Names) -> int | str:
    try:
        return known.image_id(name)
    except NotKnownError as error:
        return str(error)


def renumbered(results: Results, ids: Mapping[int, int]) -> Results:
    """Results with other ids of images."""
    if not ids:
        return results
    mapped = np.array([ids.get(id_, id_) for id_ in results.image_ids.tolist()], dtype=np.int64)
    return msgspec.structs.replace(results, image_ids=mapped)
