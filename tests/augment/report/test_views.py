"""Where objects lie in a variant: the boxes that a build wrote are where the report moves them, and none is missing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from augment.report.views import View, dropped, moved, picture_of, views
from datasets.records import Donor, Turn
from tests.augment.report.conftest import WholeBuild, box, image

WHOLE = (0, 0, 100, 80)


@pytest.mark.parametrize("name", ["everything", "beyond"])
def test_as_many_objects_are_missing_as_the_build_dropped(whole: Callable[[str], WholeBuild], name: str) -> None:
    build, _, annotations = whole(name)
    originals = whole(name).originals
    counts = build.manifest.counts.operations
    found = dict.fromkeys(counts, 0)
    for record in build.images.values():
        found[record.operation or ""] += len(list(dropped(record, annotations[record.id], originals)))
    assert found == {operation: item.dropped for operation, item in counts.items()}
    assert sum(found.values()) > 10


@pytest.mark.parametrize("name", ["everything", "beyond"])
def test_kept_boxes_are_moved_to_where_the_build_has_them(whole: Callable[[str], WholeBuild], name: str) -> None:
    """The visible part of a box is what is left of it, but where pasted objects cover it."""
    build, _, annotations = whole(name)
    originals = whole(name).originals
    compared: set[str] = set()
    for record in build.images.values():
        shown = views(record) if record.operation != "paste" else []
        pictures = [view.picture for view in shown]
        # A picture that a mosaic shows twice has each object twice.
        for view in (view for view in shown if pictures.count(view.picture) == 1):
            of_source = {item.source_annotation_id: item.bbox for item in originals[view.picture]}
            for item in annotations[record.id]:
                if picture_of(item, record) == view.picture and not item.iscrowd:
                    expected = moved(of_source[item.source_annotation_id], view, record)
                    assert item.bbox == pytest.approx(expected, abs=1e-3)
                    compared.add(record.operation or "")
    assert compared == set(build.manifest.counts.operations) - {"paste"}


def test_a_window_moves_and_clips() -> None:
    crop = image(2, "random_crop", window=(30, 20, 80, 60), width=50, height=40)
    (view,) = views(crop)
    assert moved((35, 25, 10, 10), view, crop) == (5, 5, 10, 10)
    # From 20 to 40 and from 50 to 90: 30 to 40 and 50 to 60 are seen.
    assert moved((20, 50, 20, 40), view, crop) == (0, 30, 10, 10)
    assert moved((0, 0, 30, 20), view, crop) is None


def test_a_turn_moves() -> None:
    turned = image(2, "turn", turn=Turn(mirrored=False, degrees=90), width=80, height=100)
    (view,) = views(turned)
    # Clockwise, the left becomes the top, and the bottom the left.
    assert moved((10, 0, 20, 30), view, turned) == (80 - 30, 10, 30, 20)


def test_a_donor_is_scaled_and_mirrored() -> None:
    view = View((0, 7), (10, 10, 30, 20), (50, 0, 90, 20), flip=True)
    # 5 px wide from the window's left, of twice the size from the region's right.
    assert moved((10, 10, 5, 10), view, image(2, "paste")) == (80, 0, 10, 20)


def test_what_a_paste_drops_is_its_own_or_the_donor_s() -> None:
    donor = Donor(
        source_input=0, source_id=7, source_annotation_id=70, window=(0, 0, 10, 10), region=(5, 5, 15, 15), scale=1
    )
    pasted = image(2, "paste", donors=(donor,))
    originals = {
        (0, 1): [box(10, (5, 5, 10, 10)), box(11, (50, 50, 9, 9))],
        (0, 7): [box(70, (0, 0, 10, 10)), box(71, (0, 0, 5, 5))],
    }
    shown = [box(70, (5, 5, 10, 10), source_image_id=7, source_input=0), box(11, (50, 50, 9, 9))]
    # Object 71 was not pasted, so it is not missing.
    assert [
        (item.picture, item.annotation.source_annotation_id, item.box_xywh)
        for item in dropped(pasted, shown, originals)
    ] == [((0, 1), 10, (5, 5, 10, 10))]
    assert [item.picture for item in dropped(pasted, shown[1:], originals)] == [(0, 1), (0, 7)]


def test_a_mosaic_may_show_a_picture_twice() -> None:
    def quarter(region: tuple[int, int, int, int], window: tuple[int, int, int, int]) -> Donor:
        return Donor(source_input=0, source_id=7, window=window, region=region, scale=1)

    mosaic = image(
        2, "mosaic", donors=(quarter((0, 0, 50, 40), (0, 0, 50, 40)), quarter((50, 40, 100, 80), (0, 40, 50, 80)))
    )
    originals = {(0, 7): [box(70, (10, 10, 10, 10))]}
    shown = [box(70, (10, 10, 10, 10), source_image_id=7, source_input=0)]
    # In the first quarter it is kept; the second shows a part of the picture without it.
    assert [item.box_xywh for item in dropped(mosaic, shown, originals)] == [None]


def test_an_original_alone_shows_its_picture() -> None:
    assert views(image(1, "original")) == [View((0, 1), WHOLE, WHOLE)]
