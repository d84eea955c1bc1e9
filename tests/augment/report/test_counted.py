"""Statistics of annotations: those of the manifest where it has them, and by hand where it has none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from augment.report import statistics
from augment.report.counted import AnnotationHead, Counted, by_category, by_operation
from datasets.records import Donor
from tests.augment.report.conftest import WholeBuild, image


def head(image_id: int, id_: int, category: int = 1, **more: int) -> AnnotationHead:
    return AnnotationHead(image_id=image_id, category_id=category, bbox=(0, 0, 4, 9), source_annotation_id=id_, **more)


@pytest.mark.parametrize("name", ["expanded", "balanced", "everything", "beyond"])
def test_the_annotations_have_the_cases_that_the_manifest_counts(whole: Callable[[str], WholeBuild], name: str) -> None:
    build, counted, _ = whole(name)
    cases = counted.cases()
    assert statistics.disagreements(build.manifest, cases) == []
    boxes = Counter({item.id: item.after for item in build.manifest.counts.boxes_per_category})
    after = Counter[int]()
    for (_, category, case), count in cases.items():
        after[category] += count if case in ("kept", "pasted") else 0
    assert after == +boxes
    assert len(counted.after.roots) == boxes.total()
    assert len(counted.before.roots) == sum(item.before for item in build.manifest.counts.boxes_per_category)


def test_one_that_is_not_there_is_told(whole: Callable[[str], WholeBuild]) -> None:
    build, counted, _ = whole("expanded")
    cases = counted.cases()
    cases["original", 1, "kept"] += 1
    kept = build.manifest.counts.operations["original"].kept
    assert statistics.disagreements(build.manifest, cases) == [
        f"original: {kept} kept in the manifest, {kept + 1} as annotated"
    ]


def test_what_became_of_objects_by_category() -> None:
    donor = Donor(
        source_input=0, source_id=2, source_annotation_id=20, window=(0, 0, 4, 9), region=(0, 0, 4, 9), scale=1
    )
    images = [
        image(1, "original"),
        image(2, "random_crop", window=(0, 0, 50, 50)),
        image(3, "paste", donors=(donor,)),
        image(4, "original", source_id=2),
    ]
    counted = Counted({item.id: item for item in images})
    heads = [
        # One of each category, and a crowd.
        *(head(1, 10, 1), head(1, 11, 3), head(1, 12, 3, iscrowd=1)),
        # The crop ignores the first, has the crowd, and lacks the other.
        *(head(2, 10, 1, iscrowd=1), head(2, 12, 3, iscrowd=1)),
        # An object of category 18 covers the first.
        *(head(3, 11, 3), head(3, 12, 3, iscrowd=1), head(3, 20, 18, source_image_id=2, source_input=0)),
        head(4, 20, 18),
    ]
    # In whatever order.
    for item in reversed(heads):
        counted.add(item)
    cases = counted.cases()
    assert by_category(cases) == Counter(
        {(1, "ignored"): 1, (1, "dropped"): 1, (3, "dropped"): 1, (3, "kept"): 1, (3, "crowd"): 2, (18, "pasted"): 1}
    )
    assert by_operation(cases)["random_crop", "dropped"] == 1
    # Boxes of 4 x 9 px, crowds and ignored ones left out.
    assert list(counted.before.roots) == [6.0] * 3
    assert list(counted.after.ratios) == [4 / 9] * 5
    assert dict(counted.categories_of) == {(0, 1): {1, 3}, (0, 2): {18}}


def test_a_pasted_object_that_is_covered_is_dropped() -> None:
    donor = Donor(
        source_input=0, source_id=2, source_annotation_id=20, window=(0, 0, 4, 9), region=(0, 0, 4, 9), scale=1
    )
    images = [image(1, "original"), image(3, "paste", donors=(donor,)), image(4, "original", source_id=2)]
    counted = Counted({item.id: item for item in images})
    counted.add(head(4, 20, 18))
    assert counted.cases() == Counter({("original", 18, "kept"): 1, ("paste", 18, "dropped"): 1})


def test_without_originals_nothing_is_known_as_dropped() -> None:
    counted = Counted({1: image(1, "pixel")})
    counted.add(head(1, 10, iscrowd=1))
    counted.add(head(1, 11))
    assert counted.cases() == Counter({("pixel", 1, "ignored"): 1, ("pixel", 1, "kept"): 1})
    assert len(counted.before.roots) == 0
