"""Subsets: seeded, nested, of the asked size, and the command that writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets import coco, subsets
from datasets.__main__ import main
from datasets.errors import DataError
from datasets.records import Dataset
from tests.command_line import Ended, in_shell
from tests.datasets.test_evaluation import dataset, objects

BOX = (0.0, 0.0, 10.0, 10.0)
IDS = st.sets(st.integers(-(2**53), 2**53), max_size=30)


def one_object_each(ids: list[int]) -> Dataset:
    return dataset(ids, [7], [item for id_ in ids for item in objects(id_, 7, BOX)])


def test_the_order_is_that_of_digests() -> None:
    # The digests of "0 1", "0 2" and "0 3" begin with 5cc3, 545b and dcbc, as sha256sum has it.
    assert subsets.shuffled([1, 2, 3], seed=0) == [2, 1, 3]


@given(ids=IDS, more=IDS, seed=st.integers())
def test_an_image_keeps_its_place_when_others_are_added(ids: set[int], more: set[int], seed: int) -> None:
    assert subsets.shuffled(ids, seed) == [item for item in subsets.shuffled(ids | more, seed) if item in ids]


def test_subsets_of_a_seed_are_nested_and_seeds_differ() -> None:
    whole = one_object_each(list(range(100)))
    few, many, others = (
        {image.id for image in subsets.first(whole, count, seed).images} for count, seed in ((25, 1), (50, 1), (25, 2))
    )
    assert (len(few), len(many)) == (25, 50)
    assert few < many
    assert few != others


def test_images_and_annotations_stay_in_file_order_with_all_categories() -> None:
    whole = dataset([9, 4, 6], [7, 8], [*objects(6, 7, BOX), *objects(9, 7, BOX), *objects(4, 7, BOX, BOX)])
    part = subsets.subset(whole, {4, 9})
    assert [image.id for image in part.images] == [9, 4]
    assert [item.image_id for item in part.annotations] == [9, 4, 4]
    assert part.categories == whole.categories


def test_images_without_an_object_are_drawn_where_that_is_asked_for() -> None:
    """Image 2 has a crowd alone, image 3 nothing."""
    whole = dataset([1, 2, 3], [7], [*objects(1, 7, BOX), *objects(2, 7, BOX, crowd=1)])
    assert [image.id for image in subsets.first(whole, 1, seed=0).images] == [1]
    assert [image.id for image in subsets.first(whole, 3, seed=0, include_empty=True).images] == [1, 2, 3]
    with pytest.raises(DataError) as caught:
        subsets.first(whole, 2, seed=0, name="a.json")
    assert str(caught.value) == (
        "a.json: expected at least 2 images with an object that is not a crowd, found 1; "
        "--include-empty draws from all 3"
    )
    with pytest.raises(DataError, match=r"not a crowd, found 1; a smaller --count can be drawn$"):
        subsets.first(whole, 4, seed=0)
    with pytest.raises(DataError, match=r"at least 4 images, found 3; a smaller --count can be drawn$"):
        subsets.first(whole, 4, seed=0, include_empty=True)


def drawn(source: Path, output: Path, *more: object) -> Ended:
    options = ["--annotations", source, "--output", output, *more]
    return in_shell(main, "python -m datasets", "subset", *options)


@pytest.fixture
def source(document: dict[str, Any], tmp_path: Path) -> Path:
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(document))
    return path


def test_the_command_writes_what_coco_has(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "one.json"
    code, out, err = drawn(source, output, "--count", 1)
    assert (code, err) == (0, "")
    assert out == f"{output}: 1 of 2 images, 2 annotations\n"
    whole, part = coco.read(source).dataset, coco.read(output).dataset
    assert (part.info, part.licenses, part.categories) == (whole.info, whole.licenses, whole.categories)
    # The document's first image has both source.
    assert part.images == whole.images[:1]
    assert [item.bbox for item in part.annotations] == [item.bbox for item in whole.annotations]


def test_the_command_says_what_the_subset_lacks(document: dict[str, Any], source: Path, tmp_path: Path) -> None:
    document["categories"].append({"id": 20, "name": "cat"})
    source.write_text(json.dumps(document))
    assert "warning: 1 of 3 categories have no object: cat\n" in drawn(source, tmp_path / "b", "--count", 1).out


def test_the_same_command_gives_the_same_bytes(source: Path, tmp_path: Path) -> None:
    for name in "ab":
        drawn(source, tmp_path / name, "--count", 2, "--seed", 3, "--include-empty")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_too_few_images_are_refused_and_an_earlier_output_stays(source: Path, tmp_path: Path) -> None:
    output = tmp_path / "earlier.json"
    output.write_text("earlier")
    code, out, err = drawn(source, output, "--count", 1000)
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {source}: expected at least 1,000 images with an object")
    assert output.read_text() == "earlier"
    assert {path.name for path in tmp_path.iterdir()} == {"earlier.json", "instances.json"}


def test_the_input_is_not_replaced(source: Path) -> None:
    before = source.read_bytes()
    code, _, err = drawn(source, source, "--count", 1)
    assert code == 1
    assert "would replace an input" in err
    assert source.read_bytes() == before


def test_variants_of_a_build_are_not_drawn(source: Path, tmp_path: Path) -> None:
    build = tmp_path / "built"
    (build / "annotations").mkdir(parents=True)
    (build / "manifest.json").write_text("{}")
    source.rename(build / "annotations" / "instances.json")
    code, _, err = drawn(build / "annotations" / "instances.json", tmp_path / "out.json", "--count", 1)
    assert code == 1
    assert "draw a subset of what it was built from" in err
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize("count", ["0", "-1", "some"])
def test_a_count_is_a_number_of_images(source: Path, tmp_path: Path, count: str) -> None:
    code, _, err = drawn(source, tmp_path / "out.json", "--count", count)
    assert code == 2
    assert "--count" in err
