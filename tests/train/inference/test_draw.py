"""Drawings: what is where, in which colour, and that every name and every size of picture can be drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from datasets import coco_runs
from datasets.results import Results
from train.data.records import Categories
from train.inference import draw
from train.inference.draw import PALETTE, Artist, enlargement, shortened, style_of, text_color

CATEGORIES = Categories.from_pairs([(3, "disc"), (7, "star"), (9, "bolt")])
BLUE, ORANGE = (0x00, 0x72, 0xB2), (0xE6, 0x9F, 0x00)
GREY = 128


def grey(width: int, height: int) -> npt.NDArray[np.uint8]:
    return np.full((height, width, 3), GREY, dtype=np.uint8)


def found(*rows: tuple[int, Sequence[float], float], masks: Sequence[bytes] | None = None) -> Results:
    """Of (category id, xywh, score)."""
    return Results(
        np.ones(len(rows), dtype=np.int64),
        np.array([row[0] for row in rows], dtype=np.int64),
        np.array([row[1] for row in rows], dtype=np.float64).reshape(-1, 4),
        np.array([row[2] for row in rows], dtype=np.float64),
        masks,
    )


def full(x0: int, y0: int, x1: int, y1: int, width: int, height: int) -> bytes:
    rle = coco_runs.to_rle(coco_runs.from_windows([(x0, y0, x1, y1)], height, width))
    return msgspec.json.encode({"size": rle.size, "counts": rle.counts})


def changed(drawn: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    return np.asarray((drawn != GREY).any(axis=2))


def test_a_box_is_drawn_on_its_edges_in_its_category_s_colour() -> None:
    drawn = Artist(CATEGORIES).draw(grey(640, 480), found((3, (100, 200, 50, 80), 0.5), (7, (300, 200, 60, 60), 0.75)))
    assert drawn.shape == (480, 640, 3)
    for (x, y, width, height), color in (((100, 200, 50, 80), BLUE), ((300, 200, 60, 60), ORANGE)):
        for at in ((y + height, x + 10), (y + height - 10, x), (y + 20, x + width)):
            assert tuple(drawn[at].tolist()) == color
        # Without a mask, the inside is as it was.
        assert (drawn[y + 10 : y + height - 5, x + 5 : x + width - 5] == GREY).all()
    # The label stands above, in the same colour.
    assert tuple(drawn[198, 101].tolist()) == BLUE


def test_masks_are_translucent() -> None:
    masks = [full(120, 220, 140, 260, 640, 480)]
    drawn = Artist(CATEGORIES).draw(grey(640, 480), found((3, (100, 200, 50, 80), 0.5), masks=masks))
    inside = drawn[225:255, 122:138]
    expected = draw.OPACITY * np.array(BLUE) + (1 - draw.OPACITY) * GREY
    assert np.abs(inside - expected).max() <= 1
    assert (drawn[205:215, 105:115] == GREY).all()


def test_nothing_found_leaves_the_picture_as_it_is() -> None:
    assert (Artist(CATEGORIES).draw(grey(640, 480), found()) == GREY).all()


def test_the_picture_that_is_given_is_not_drawn_on() -> None:
    pixels = grey(640, 480)
    Artist(CATEGORIES).draw(pixels, found((3, (100, 200, 50, 80), 0.5)))
    assert (pixels == GREY).all()


@pytest.mark.parametrize(
    "box", [(0, 0, 640, 480), (630, 470, 10, 10), (0, 0, 5, 5), (-10, -10, 2000, 2000), (639.9, 479.9, 0, 0)]
)
def test_labels_stay_in_the_picture(box: tuple[float, float, float, float]) -> None:
    """A label of full height and width is seen, wherever the box is."""
    drawn = Artist(CATEGORIES).draw(grey(640, 480), found((9, box, 0.5)))
    green = (drawn == np.array([0x00, 0x9E, 0x73])).all(axis=2)
    style = style_of(480, 640)
    assert green.any(axis=0).sum() >= 40
    assert green.any(axis=1).sum() >= style.text - 3


def test_labels_of_boxes_in_one_place_do_not_hide_each_other() -> None:
    """Three labels have about three times the ground of one; some of it hides lines of boxes."""
    box = (300, 200, 100, 100)
    artist = Artist(CATEGORIES)
    one = changed(artist.draw(grey(640, 480), found((3, box, 0.5)))).sum()
    bare = 4 * 100 * style_of(480, 640).line
    three = changed(artist.draw(grey(640, 480), found((3, box, 0.5), (3, box, 0.6), (3, box, 0.7)))).sum()
    assert three - bare > 2 * (one - bare)


@pytest.mark.parametrize(
    ("width", "height", "factor"), [(640, 480, 1), (300, 300, 1), (200, 150, 3), (8, 8, 8), (1, 1, 8)]
)
def test_small_pictures_are_enlarged_with_what_is_in_them(width: int, height: int, factor: int) -> None:
    assert enlargement(height, width) == factor
    box = (width * 0.25, height * 0.25, width * 0.5, height * 0.5)
    for masks in (None, [full(0, 0, width, height, width, height)]):
        drawn = Artist(CATEGORIES).draw(grey(width, height), found((3, box, 0.5), masks=masks))
        assert drawn.shape == (height * factor, width * factor, 3)
        assert changed(drawn).any()


def test_long_strips_are_not_enlarged_beyond_measure() -> None:
    assert enlargement(100, 1500) == 2
    assert enlargement(100, 9000) == 1


def test_lines_and_text_grow_with_the_picture() -> None:
    sizes = [style_of(*size) for size in ((150, 200), (480, 640), (2000, 3000), (3000, 2000))]
    assert sizes[1] == (2, 12, 2)
    assert sizes[2] == sizes[3]
    assert [style.text for style in sizes[:3]] == sorted(style.text for style in sizes[:3])
    assert sizes[2].line > sizes[1].line >= sizes[0].line >= 1
    assert style_of(1, 1).text >= 9


def test_colours_begin_again_after_the_last() -> None:
    many = Categories.from_pairs((id_, f"c{id_}") for id_ in range(20))
    drawn = Artist(many).draw(grey(640, 480), found((len(PALETTE), (100, 200, 50, 80), 0.5)))
    assert tuple(drawn[280, 110].tolist()) == BLUE


def test_text_is_black_or_white_by_contrast() -> None:
    # The contrast of #0072B2 with white is 5.2, with black 4.0; that of yellow with white 1.3.
    assert [text_color(color) for color in ("#000000", "#FFFFFF", "#0072B2", "#F0E442")] == [
        "#FFFFFF",
        "#000000",
        "#FFFFFF",
        "#000000",
    ]


NAMES = ["Größe", "рыба", "قطة", "猫", "a\nb", "", " ", "x" * 500, "tab\t", "\U0001f992"]


def test_names_in_any_script_are_drawn_or_stood_for_by_their_ids() -> None:
    categories = Categories.from_pairs(enumerate(NAMES))
    artist = Artist(categories)
    # Japanese, an emoji and what cannot be seen.
    assert artist.renamed == {
        "猫": "#3",
        "a\nb": "#4",
        "": "#5",
        " ": "#6",
        "tab\t": "#8",
        "\U0001f992": "#9",
    }
    rows: Any = [(id_, (10, 40 * id_, 100, 30), 0.5) for id_ in range(len(NAMES))]
    assert changed(artist.draw(grey(640, 480), found(*rows))).any()


def test_long_names_are_cut() -> None:
    assert shortened("abcdef", "0.50", lambda text: len(text) <= 9) == "abc… 0.50"
    assert shortened("abc", "0.50", lambda text: len(text) <= 9) == "abc 0.50"
    assert shortened("abc", "0.50", lambda _: False) == "… 0.50"


def test_pictures_too_long_for_masks_have_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draw, "LONGEST", 600)
    masks = [full(120, 220, 140, 260, 640, 480)]
    drawn = Artist(CATEGORIES).draw(grey(640, 480), found((3, (100, 200, 50, 80), 0.5), masks=masks))
    assert (drawn[225:255, 122:138] == GREY).all()
    assert changed(drawn).any()
