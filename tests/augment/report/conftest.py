"""Finished builds as the report reads them, and image records and annotations in one line each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from augment.report.counted import Counted
from augment.report.finished import Finished, Key, key_of, read_finished
from augment.report.objects import annotations_of, count_all
from datasets.records import Annotation, Image


class WholeBuild(NamedTuple):
    """A build with all its annotations, by image id."""

    build: Finished
    counted: Counted
    annotations: dict[int, list[Annotation]]

    @property
    def originals(self) -> dict[Key, list[Annotation]]:
        images = self.build.images.values()
        return {key_of(image): self.annotations[image.id] for image in images if image.operation == "original"}


@pytest.fixture(scope="session")
def whole(built: Callable[[str], Path]) -> Callable[[str], WholeBuild]:
    """whole("expanded"): that build of the drawn dataset, read."""

    def read(name: str) -> WholeBuild:
        build = read_finished(built(name))
        counted = Counted(build.images)
        located = count_all(build, counted, lambda *_: None)
        return WholeBuild(build, counted, annotations_of(build.images, build, located))

    return read


def image(id_: int, operation: str, source_id: int = 1, **more: Any) -> Image:
    """100 x 80 px."""
    size = {"width": 100, "height": 80, **more}
    return Image(id=id_, file_name=f"{id_}.jpg", source_input=0, source_id=source_id, operation=operation, **size)


def box(id_: int, bbox: tuple[float, float, float, float], category: int = 1, **more: Any) -> Annotation:
    """An object whose id in its source is `id_`."""
    record = {"id": id_, "image_id": 1, "area": bbox[2] * bbox[3], "iscrowd": 0, "source_annotation_id": id_, **more}
    return Annotation(category_id=category, bbox=bbox, **record)
