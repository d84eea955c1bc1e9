"""Recipes: the three that ship, a file of one's own, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from augment import recipe
from augment.operations.parameters import (
    AnyOperation,
    CenterCrop,
    Copy,
    LabelRule,
    Original,
    Paste,
    Pixel,
    RandomCrop,
    Recipe,
    from_plain,
)
from augment.operations.transforms import ALL_TRANSFORMS, COPY_TRANSFORMS, PAPER_TRANSFORMS
from datasets import yaml_files
from datasets.errors import DataError

CROPS = (
    CenterCrop(fraction=(0.80, 0.99)),
    CenterCrop(fraction=(0.60, 0.80)),
    RandomCrop(fraction=(0.80, 0.99)),
    RandomCrop(fraction=(0.60, 0.80)),
)
BALANCE = Copy(max_copies=20, target_fraction=0.5, transforms=COPY_TRANSFORMS)
VARIANT = Pixel(transforms=PAPER_TRANSFORMS)


def written(operation: str, rest: str = "") -> str:
    """A recipe with one operation."""
    return f"name: mine\noperations:\n  - {operation}\n{rest}"


def from_text(text: str) -> Recipe:
    return from_plain(yaml_files.parse(text, "mine.yaml"), "mine.yaml")


def refusal(text: str) -> str:
    with pytest.raises(DataError) as caught:
        from_text(text)
    return str(caught.value)


def test_five_recipes_ship() -> None:
    assert recipe.shipped() == ["balanced", "everything", "expanded", "scarce", "scarce-turned"]


@pytest.mark.parametrize(("name", "images"), [("scarce", 7), ("scarce-turned", 9)])
def test_as_many_images_of_each_source_as_the_file_says_and_the_defaults_of_paste(name: str, images: int) -> None:
    """`scarce` writes them out, so that the file is a page to learn from."""
    operations = recipe.load(name).operations
    assert sum(getattr(operation, "count", 1) for operation in operations) == images
    assert operations[-1] == Paste(count=2, optional=True)


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("paste, count: 0", "count: expected 1 to 100, found 0"),
        ("paste, count: 1000000", "count: expected 1 to 100"),
        ("paste, objects: [0, 4]", "objects: expected 1 <= fewest <= most <= 100, found [0, 4]"),
        ("paste, objects: [4, 1]", "found [4, 1]"),
        ("paste, objects: [1, 1000000]", "found [1, 1000000]"),
        ("paste, scale: [0, 1]", "scale: expected [low, high] above 0 and up to 10, found [0, 1]"),
        ("paste, scale: [2, 1]", "scale: expected low <= high, found the empty range [2, 1]"),
        ("paste, scale: [1, .inf]", "scale: expected"),
        ("paste, scale: [.nan, 1]", "scale: expected"),
        ("paste, flip: 1.5", "flip: expected 0 to 1, found 1.5"),
        ("paste, flip: .nan", "flip: expected 0 to 1"),
        ("paste, min_size: 0", "min_size: expected 1 to 10000"),
        ("paste, edge: -1", "edge: expected 0 to 100"),
        ("paste, choose: common", "`$.operations[0].choose`"),
        ("paste, boxes: 1", "Expected `bool`"),
        ("paste, optional: 1", "Expected `bool`"),
        ("mosaic, center: [0.3, 1.7]", "center: expected [low, high] above 0 and up to 1"),
        ("mosaic, scale: [0.5, 11]", "scale: expected"),
        ("tile, size: 8", "size: expected 16 to 65500, found 8"),
        ("tile, overlap: 1", "overlap: expected a share from 0 to less than 1, found 1"),
        ("tile, overlap: .nan", "overlap: expected"),
        ("turn, mirror: false, rotate: false", "mirror, rotate: expected at least one of them, found neither"),
        ("turn, rotate: false, count: 2", "count: expected 1 to 1, found 2"),
        ("erase, unit: [0.1, 2]", "unit: expected"),
        ("erase, kept: 1", "kept: expected a share above 0 and below 1, found 1"),
        ("copy, target: mean", "`$.operations[0].target`"),
        ("copy, target: median, target_boxes: 3", "target: expected it or target_boxes, found both, median and 3"),
    ],
)
def test_values_out_of_range_are_refused(operation: str, expected: str) -> None:
    assert expected in refusal(written(f"{{operation: {operation}}}"))


@pytest.mark.parametrize("chroma", ["source", "444", "422", "420"])
def test_chroma_may_be_named(chroma: str) -> None:
    assert str(from_text(written("operation: original", f"chroma: {chroma}")).chroma) == chroma


@pytest.mark.parametrize("chroma", ["4:2:0", "'420'", "full", "410"])
def test_chroma_is_one_of_four(chroma: str) -> None:
    """YAML reads 4:2:0 as a number to the base 60."""
    assert "expected one of source, 444, 422, 420 (without colons)" in refusal(
        written("operation: original", f"chroma: {chroma}")
    )


@pytest.mark.parametrize(
    ("name", "operations"),
    [
        ("balanced", (Original(), BALANCE)),
        ("expanded", (Original(), VARIANT, *CROPS)),
        ("everything", (Original(), BALANCE, VARIANT, *CROPS)),
    ],
)
def test_a_shipped_recipe_is_the_paper_s(name: str, operations: tuple[AnyOperation, ...]) -> None:
    assert recipe.load(name) == Recipe(
        name=name, operations=operations, seed=0, labels=LabelRule(min_visible=0.5, min_area_ratio=0.01)
    )


def test_expanded_makes_six_images_of_each_source() -> None:
    assert len(recipe.load("expanded").operations) * (5_873 + 4_946) == 64_914


def test_a_recipe_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "name: mine\nseed: 5\njpeg_quality: 80\nlabels: {min_visible: 0.25, min_area_ratio: 0}\n"
        "operations:\n  - {operation: random_crop, fraction: [0.5, 1]}\n"
        "  - {operation: pixel, transforms: [RandomFog]}\n"
        "  - {operation: copy, target_boxes: 7, max_copies: 3}\n"
    )
    assert recipe.load(str(path)) == Recipe(
        name="mine",
        seed=5,
        jpeg_quality=80,
        labels=LabelRule(min_visible=0.25, min_area_ratio=0.0),
        operations=(
            RandomCrop(fraction=(0.5, 1.0)),
            Pixel(transforms=("RandomFog",)),
            Copy(target_boxes=7, max_copies=3),
        ),
    )


@pytest.mark.parametrize("name", ["balanced", "expanded", "everything"])
def test_a_recipe_survives_the_manifest(name: str) -> None:
    loaded = recipe.load(name)
    assert msgspec.convert(msgspec.json.decode(msgspec.json.encode(loaded)), Recipe) == loaded


def test_a_name_that_is_neither_recipe_nor_file_is_answered_with_the_names() -> None:
    with pytest.raises(DataError, match=r"^--recipe expandet: .*balanced, everything, expanded, scarce, scarce-turned"):
        recipe.load("expandet")


def test_a_folder_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="expected a YAML file or one of balanced, everything, expanded, scarce, scarce-turned"
    ):
        recipe.load(str(tmp_path))


def test_text_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("name: größe".encode("latin-1"))
    with pytest.raises(DataError, match=r"latin\.yaml: not readable as YAML: .utf-8"):
        recipe.load(str(path))


@pytest.mark.parametrize(
    ("text", "key", "allowed"),
    [
        (
            written("operation: original", "colour: 1"),
            "`colour`",
            "name, operations, seed, jpeg_quality, chroma, labels",
        ),
        (written("operation: original", "labels: {min_seen: 1}"), "`min_seen`", "min_visible, min_area_ratio"),
        (written("{operation: center_crop, fraction: [0.5, 1], f: 1}"), "`f`", "center_crop: operation, fraction"),
        (written("{operation: copy, times: 3}"), "`times`", "copy: operation, max_copies, target_fraction"),
        (written("{operation: original, transforms: [Blur]}"), "`transforms`", "for original: operation;"),
        (written("operation: rotate"), "'rotate'", "original, pixel, copy, center_crop, random_crop"),
        (written("{operation: pixel, transforms: [Blurr]}"), "Blurr", ", ".join(ALL_TRANSFORMS)),
        (written("{operation: copy, transforms: [Blur, HorizontalFlip]}"), "HorizontalFlip", "RandomFog"),
    ],
)
def test_what_is_unknown_is_named_with_what_is_allowed(text: str, key: str, allowed: str) -> None:
    message = refusal(text)
    assert message.startswith("mine.yaml: ")
    assert key in message
    assert allowed in message


@pytest.mark.parametrize(
    "low_high", ["[0, 0.5]", "[-0.5, 0.5]", "[0.5, 1.001]", "[1.5, 2]", "[.nan, 1]", "[0.5, .inf]"]
)
@pytest.mark.parametrize("operation", ["center_crop", "random_crop"])
def test_a_fraction_outside_0_to_1_is_refused(operation: str, low_high: str) -> None:
    message = refusal(written(f"{{operation: {operation}, fraction: {low_high}}}"))
    assert "fraction: expected [low, high] above 0 and up to 1" in message
    assert "$.operations[0]" in message


def test_an_empty_range_is_refused() -> None:
    assert "low <= high, found the empty range [0.9, 0.8]" in refusal(
        written("{operation: center_crop, fraction: [0.9, 0.8]}")
    )


@pytest.mark.parametrize(
    "text",
    [
        written("{operation: center_crop, fraction: [0.0001, 1]}"),
        written("{operation: center_crop, fraction: [1, 1]}"),
        written("{operation: random_crop, fraction: [0.7, 0.7]}"),
        written("{operation: copy, max_copies: 1, target_fraction: 1}"),
        written("{operation: copy, max_copies: 1000, target_boxes: 1}"),
        written("operation: original", "jpeg_quality: 1\nseed: 9223372036854775807"),
        written("operation: original", "jpeg_quality: 100\nlabels: {min_visible: 0, min_area_ratio: 1}"),
    ],
)
def test_the_ends_of_every_range_are_allowed(text: str) -> None:
    from_text(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (written("operation: center_crop"), "`fraction`"),
        (written("{operation: center_crop, fraction: 0.5}"), "operations[0].fraction"),
        (written("{operation: center_crop, fraction: [0.5]}"), "operations[0].fraction"),
        (written("{operation: center_crop, fraction: ['0.5', 1]}"), "operations[0].fraction"),
        (written("{operation: pixel, transforms: []}"), "transforms: expected at least one"),
        (written("{operation: copy, transforms: []}"), "transforms: expected at least one"),
        (written("{operation: copy, max_copies: 0}"), "max_copies: expected 1 to 1000, found 0"),
        (written("{operation: copy, max_copies: 1001}"), "max_copies: expected 1 to 1000, found 1001"),
        (written("{operation: copy, max_copies: 2.5}"), "operations[0].max_copies"),
        (written("{operation: copy, target_fraction: 0}"), "target_fraction: expected a share above 0 and up to 1"),
        (written("{operation: copy, target_fraction: 1.01}"), "target_fraction: expected a share above 0 and up to 1"),
        (written("{operation: copy, target_boxes: 0}"), "target_boxes: expected at least 1, found 0"),
        (written("operation: original", "jpeg_quality: 0"), "jpeg_quality: expected 1 to 100, found 0"),
        (written("operation: original", "jpeg_quality: 101"), "jpeg_quality: expected 1 to 100, found 101"),
        (written("operation: original", "seed: -1"), "seed: expected 0 to 2 ** 63 - 1, found -1"),
        (written("operation: original", f"seed: {2**63}"), "seed"),
        (written("operation: original", "seed: one"), "$.seed"),
        (written("operation: original", "labels: {min_visible: 1.01}"), "min_visible: expected a share from 0 to 1"),
        (written("operation: original", "labels: {min_area_ratio: -0.01}"), "min_area_ratio: expected a share"),
        (written("operation: original\n  - operation: original"), "operations: expected `original` at most once"),
        (written("operation: copy\n  - operation: copy"), "operations: expected `copy` at most once"),
        (written("{fraction: [0.5, 1]}"), "`operation`"),
        ("name: mine\noperations: []", "operations: expected at least one, found none"),
        ("name: mine", "`operations`"),
        ("operations: [{operation: original}]", "`name`"),
        ("- operation: original", "mine.yaml: Expected `object`"),
        ("", "mine.yaml: Expected `object`"),
        ("name: [", "mine.yaml: not readable as YAML"),
    ],
)
def test_a_bad_value_is_named(text: str, expected: str) -> None:
    assert expected in refusal(text)


def test_what_looks_like_a_date_and_is_none_is_refused() -> None:
    with pytest.raises(DataError, match=r"not readable as YAML: month must be in 1\.\.12"):
        from_text("seed: 2020-13-45")
