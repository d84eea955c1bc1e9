"""What is drawn for an image depends on the seed, its own id and name, the operation's place and the copy's number."""

from __future__ import annotations

import hashlib
import re
from collections import Counter

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment import recipe
from augment.operations.parameters import CenterCrop, Pixel, RandomCrop, Recipe
from augment.operations.plan import Dataset, SourceImage, Variant, generator, image_records, variants
from augment.operations.transforms import COPY_TRANSFORMS, PAPER_TRANSFORMS
from datasets.records import Image

EXPANDED = recipe.load("expanded")
EVERYTHING = recipe.load("everything")


def image(id_: int = 1, file_name: str = "a.jpg", width: int = 640, height: int = 480) -> Image:
    return Image(id=id_, file_name=file_name, width=width, height=height)


def seeded(seed: int, of: Recipe = EVERYTHING) -> Recipe:
    return msgspec.structs.replace(of, seed=seed)


def drawn(of: Recipe, source: Image, copies: int = 3) -> list[Variant]:
    return variants(of, SourceImage(source), Dataset(lambda _: copies))


def test_operations_come_in_the_recipe_s_order() -> None:
    assert [variant.operation for variant in drawn(EVERYTHING, image(), copies=2)] == [
        *("original", "copy", "copy", "pixel"),
        *("center_crop", "center_crop", "random_crop", "random_crop"),
    ]


def test_every_operation_draws_what_it_needs_and_no_more() -> None:
    original, copy, pixel, center, *_ = drawn(EVERYTHING, image(), copies=1)
    assert original == Variant("original")
    assert copy.transform in COPY_TRANSFORMS
    assert pixel.transform in PAPER_TRANSFORMS
    assert (copy.window, pixel.window) == (None, None)
    assert (center.transform, center.seed) == (None, None)


def test_an_image_without_copies_has_none() -> None:
    assert "copy" not in {variant.operation for variant in drawn(EVERYTHING, image(), copies=0)}


@pytest.mark.parametrize(
    "other",
    [(1, 7, "a.jpg", 2, 3), (0, 8, "a.jpg", 2, 3), (0, 7, "b.jpg", 2, 3), (0, 7, "a.jpg", 1, 3), (0, 7, "a.jpg", 2, 4)],
)
def test_each_part_of_the_key_changes_the_stream(other: tuple[int, int, str, int, int]) -> None:
    first = generator(0, 7, "a.jpg", 2, 3).integers(2**63, size=4).tolist()
    assert generator(0, 7, "a.jpg", 2, 3).integers(2**63, size=4).tolist() == first
    assert generator(*other).integers(2**63, size=4).tolist() != first


def test_parts_of_the_key_do_not_run_into_each_other() -> None:
    streams = [
        generator(*key).integers(2**63)
        for key in ((1, 11, "", 1, 1), (11, 1, "", 1, 1), (1, 1, "1", 1, 1), (1, 1, "", 11, 1))
    ]
    assert len(set(streams)) == len(streams)


def test_streams_stay_the_same_from_version_to_version() -> None:
    # Built datasets stay reproducible: numpy promises PCG64's bits, and the key is plain JSON under SHA-256.
    key = hashlib.sha256('[5,-7,"größe.jpg",2,3]'.encode()).digest()[:16]
    expected = np.random.PCG64(int.from_bytes(key, "little")).random_raw(4).tolist()
    assert generator(5, -7, "größe.jpg", 2, 3).bit_generator.random_raw(4).tolist() == expected


def test_seed_id_and_name_change_the_windows() -> None:
    windows = {
        tuple(variant.window for variant in drawn(of, source)[-4:])
        for of in (EVERYTHING, seeded(1), seeded(2**63 - 1))
        for source in (image(), image(2), image(1, "b.jpg"), image(-1), image(1, "größe\n.jpg"))
    }
    assert len(windows) == 3 * 5


def test_an_operation_added_at_the_end_leaves_the_others_as_they_were() -> None:
    longer = msgspec.structs.replace(EXPANDED, operations=(*EXPANDED.operations, RandomCrop(fraction=(0.5, 0.6))))
    assert drawn(longer, image())[:-1] == drawn(EXPANDED, image())


def test_more_copies_leave_the_first_ones_as_they_were() -> None:
    balanced = recipe.load("balanced")
    assert drawn(balanced, image(), copies=20)[:6] == drawn(balanced, image(), copies=5)


def test_copies_of_an_image_differ() -> None:
    copies = drawn(recipe.load("balanced"), image(), copies=20)[1:]
    assert len({(copy.transform, copy.seed) for copy in copies}) == 20
    assert {copy.transform for copy in copies} == set(COPY_TRANSFORMS)


def test_all_thirty_transforms_are_drawn_equally_often() -> None:
    only = Recipe(name="pixel", operations=(Pixel(),))
    found = Counter(drawn(only, image(id_))[0].transform for id_ in range(3000))
    assert set(found) == set(PAPER_TRANSFORMS)
    # 100 each; the standard deviation is sqrt(3000 / 30 * 29 / 30) = 9.8, and five of those are 49.
    assert all(51 <= count <= 149 for count in found.values())


def test_fractions_are_drawn_from_the_whole_range() -> None:
    # On 10,000 px, fractions show to four digits.
    wide = image(1, "a.jpg", 10_000, 10_000)
    only = Recipe(name="crops", operations=(CenterCrop(fraction=(0.60, 0.80)), RandomCrop(fraction=(0.80, 0.99))))
    sides = [
        [
            window[2] - window[0]
            for variant in drawn(only, msgspec.structs.replace(wide, id=id_))
            if (window := variant.window)
        ]
        for id_ in range(1000)
    ]
    for (low, high), found in zip([(6000, 8000), (8000, 9900)], zip(*sides, strict=True), strict=True):
        assert low <= min(found) < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < max(found) <= high
        # The mean of 1,000 uniform draws lies within 5 * (high - low) / sqrt(12 * 1000) of the middle.
        assert abs(sum(found) / 1000 - (low + high) / 2) < 5 * (high - low) / (12 * 1000) ** 0.5


def test_records_count_up_and_say_where_the_image_came_from() -> None:
    source = msgspec.structs.replace(
        image(7, "train/x.png"), license=3, flickr_url="f", coco_url="c", date_captured="d"
    )
    planned = [
        Variant("original"),
        Variant("copy", transform="Blur", seed=5),
        Variant("center_crop", window=(10, 20, 110, 80)),
    ]
    records = image_records(planned, source, 1, "PNG", 41)
    assert [record.id for record in records] == [41, 42, 43]
    assert [record.file_name for record in records] == [
        "000000041_x_original.png",
        "000000042_x_copy.jpg",
        "000000043_x_center_crop.jpg",
    ]
    assert [(record.width, record.height) for record in records] == [(640, 480), (640, 480), (110 - 10, 80 - 20)]
    for record, variant in zip(records, planned, strict=True):
        assert (record.source_input, record.source_id, record.source_file_name) == (1, 7, "train/x.png")
        assert (record.license, record.flickr_url, record.coco_url, record.date_captured) == (3, "f", "c", "d")
        assert (record.operation, record.window) == (variant.operation, variant.window)
        assert (record.transform, record.seed) == (variant.transform, variant.seed)


HOSTILE = [
    *("größe 猫.jpg", "a b.jpg", "a\nb.jpg", "a\\b.jpg", ".hidden.jpg", "...", "-rf.jpg", "a/../b.jpg", "CON.jpg"),
    *("x" * 4000 + ".jpg", "'\";$(rm).jpg", "a\0b.jpg", "*.jpg", "", "   .jpg", "a.tar.gz", "\u202egpj.exe.jpg"),
]


@pytest.mark.parametrize("name", HOSTILE)
@settings(deadline=None, max_examples=20)
@given(drawn_name=st.text())
def test_file_names_are_safe_whatever_the_source_is_called(name: str, drawn_name: str) -> None:
    for file_name in (name, drawn_name, f"{drawn_name}/{name}"):
        planned = drawn(seeded(0, EXPANDED), image(1, file_name))
        names = [record.file_name for record in image_records(planned, image(1, file_name), 0, "JPEG", 1)]
        assert all(re.fullmatch(r"\d{9}_[A-Za-z0-9][A-Za-z0-9-]{0,39}_[a-z_]{4,11}\.jpg", found) for found in names)


def test_names_are_unique_though_sources_share_theirs() -> None:
    first = image_records([Variant("original")] * 3, image(), 0, "JPEG", 1)
    second = image_records([Variant("original")] * 3, image(), 1, "JPEG", 4)
    beyond = image_records([Variant("original")] * 3, image(), 0, "JPEG", 10**9 - 1)
    assert len({record.file_name for record in (*first, *second, *beyond)}) == 9


def test_the_original_keeps_the_suffix_of_its_format_not_of_its_name() -> None:
    records = image_records(
        [Variant("original"), Variant("pixel", transform="Blur", seed=1)], image(1, "a.jpg"), 0, "PNG", 1
    )
    assert [record.file_name.rpartition(".")[2] for record in records] == ["png", "jpg"]
