"""Data by name: the specs that the project ships, and what is said where data is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from datasets import spec
from datasets.errors import DataError
from datasets.sources import Input

TRAIN = "train: {annotations: train.json, images: pictures}\n"
ABOUT = "about: Get it from the shop.\n"

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        path = tmp_path / "mine.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_the_specs_of_the_project_are_found_by_name() -> None:
    assert {"coco-small", "sample", "vipriors"} <= set(spec.shipped())


@pytest.mark.parametrize("name", spec.shipped())
def test_a_shipped_spec_parses_and_tells_where_the_data_is_from(name: str) -> None:
    loaded = spec.load(spec.find(name))

    assert len(loaded.about) > 40
    assert loaded.train.annotations.endswith(".json")


def test_the_challenge_is_compiled_from_train_and_val_and_the_sample_from_train() -> None:
    assert spec.load(spec.find("vipriors")).compile == ("train", "val")
    assert spec.load(spec.find("sample")).compile == ("train",)


def test_a_path_is_taken_as_it_is(write: Write) -> None:
    path = write(ABOUT + TRAIN)

    assert spec.find(str(path)) == path


def test_neither_a_name_nor_a_file_is_refused_with_the_names() -> None:
    with pytest.raises(
        DataError, match=r"^--data no-such-data: expected .* one of .*coco-small, sample, vipriors, found none"
    ):
        spec.find("no-such-data")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (ABOUT + TRAIN + "valid: {annotations: v.json, images: v}\n", "unknown field `valid`"),
        (ABOUT + "train: {annotations: t.json, images: t, masks: m}\n", "unknown field `masks`"),
        (ABOUT, "missing required field `train`"),
        (TRAIN, "missing required field `about`"),
        (ABOUT + "train: {annotations: t.json}\n", "missing required field `images`"),
        (ABOUT + "train: {annotations: 5, images: t}\n", "$.train.annotations"),
        (ABOUT + TRAIN + "compile: [training]\n", "training"),
        (ABOUT + TRAIN + "compile: train\n", "$.compile"),
        (ABOUT + TRAIN + "compile: []\n", "at least one of train, val, test"),
        (ABOUT + TRAIN + "compile: [train, val]\n", "found 'val'"),
        ("", "null"),
        ("- a\n- b\n", "array"),
    ],
)
def test_an_unknown_or_missing_key_or_a_wrong_value_is_refused_with_what_is_allowed(
    text: str, found: str, write: Write
) -> None:
    with pytest.raises(DataError) as caught:
        spec.load(write(text))

    assert "mine.yaml: " in str(caught.value)
    assert found in str(caught.value)
    assert "about, train, val, test, compile" in str(caught.value)


@pytest.mark.parametrize("content", [b"about: [", b"about: \xff", b"a: b: c", b"\0", b"about: 2020-13-45", b"[" * 5000])
def test_what_is_no_yaml_is_refused_with_its_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)

    with pytest.raises(DataError, match=r"mine\.yaml: not readable as YAML"):
        spec.load(path)


def test_paths_are_relative_to_the_spec_and_in_the_order_of_compile(write: Write, tmp_path: Path) -> None:
    path = write(ABOUT + TRAIN + "val: {annotations: deep/val.json, images: deep}\ncompile: [val, train]\n")
    for folder in ("pictures", "deep"):
        (tmp_path / folder).mkdir()
    for file in ("train.json", "deep/val.json"):
        (tmp_path / file).touch()

    here = tmp_path.resolve()
    assert spec.inputs_of(str(path)) == [
        (here / "deep" / "val.json", here / "deep"),
        (here / "train.json", here / "pictures"),
    ]


def test_a_split_that_is_not_compiled_may_be_missing(write: Write, tmp_path: Path) -> None:
    path = write(ABOUT + TRAIN + "val: {annotations: none.json, images: none}\n")
    (tmp_path / "train.json").touch()
    (tmp_path / "pictures").mkdir()

    assert len(spec.inputs_of(str(path))) == 1


def test_missing_data_is_named_with_what_to_download(write: Write, tmp_path: Path) -> None:
    path = write(ABOUT + TRAIN + "val: {annotations: val.json, images: pictures}\ncompile: [train, val]\n")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "val.json").touch()

    with pytest.raises(DataError) as caught:
        spec.inputs_of(str(path))

    assert "mine: the data is not there. Get it from the shop." in caught.value.headline
    assert caught.value.problems == [f"train: {tmp_path.resolve() / 'train.json'}"]


@pytest.fixture
def two_splits(write: Write, tmp_path: Path) -> str:
    """A spec with the splits train, whose files are there, and val, whose images are not."""
    path = write(ABOUT + TRAIN + "val: {annotations: deep/val.json, images: nowhere}\n")
    for folder in ("pictures", "deep"):
        (tmp_path / folder).mkdir()
    for file in ("train.json", "deep/val.json"):
        (tmp_path / file).touch()
    return str(path)


def test_one_split_is_found_by_its_name_and_nothing_else_is_looked_for(two_splits: str, tmp_path: Path) -> None:
    here = tmp_path.resolve()

    assert spec.input_of(two_splits, "train") == (here / "train.json", here / "pictures")


def test_a_split_that_is_not_described_or_not_there_is_refused(two_splits: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"mine\.yaml: expected the split test, found none"):
        spec.input_of(two_splits, "test")
    with pytest.raises(DataError, match="mine: the data is not there") as caught:
        spec.input_of(two_splits, "val")

    assert caught.value.problems == [f"val: {tmp_path.resolve() / 'nowhere'}"]


def test_one_of_the_splits_may_be_asked_for(two_splits: str) -> None:
    assert spec.inputs_of(two_splits, ("train",)) == [spec.input_of(two_splits, "train")]


def test_a_build_is_named_by_its_folder(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances.json").touch()
    built = Input(tmp_path / "annotations" / "instances.json", tmp_path / "images")

    assert spec.inputs_of(str(tmp_path)) == [built]
    assert spec.input_of(str(tmp_path), "val") == built


def test_a_folder_that_augment_did_not_make_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        spec.input_of(str(tmp_path), "train", option="--val")
    assert str(caught.value) == (
        f"--val {tmp_path}: expected a dataset that `python -m augment build` made, found no annotations/instances.json"
    )


def test_the_challenges_data_cannot_be_downloaded_and_its_error_says_what_to_do() -> None:
    about = spec.load(spec.find("vipriors")).about

    assert "sign-up" in about
    assert "coco-small" in about
