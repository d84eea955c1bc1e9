"""The size that `choose-size` keeps in a run: which is chosen, and how its file is written and read."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.errors import DataError
from tests.train.conftest import small_config
from train.inference import test_size as sizes
from train.inference.test_size import TestSize

FOUND = TestSize(
    shorter=192,
    longest=480,
    ap={160: 0.424, 192: 0.428},
    checkpoint="model_best.pth",
    sha256="0" * 64,
    images=87,
    seen=0,
)


def test_sizes_around_the_configured_one() -> None:
    # 160 x 0.6, 0.7, 0.85, 1.2, 1.4, 1.7, to multiples of 8.
    assert sizes.default_sizes(160) == [96, 112, 136, 160, 192, 224, 272]
    assert sizes.default_sizes(1600) == [960, 1120, 1360, 1600, 1920, 2240, 2720]


@given(st.integers(1, 5000))
def test_the_configured_size_is_always_among_them(configured: int) -> None:
    found = sizes.default_sizes(configured)
    assert configured in found
    assert found == sorted(set(found))
    assert found[0] > 0


def test_sizes_as_they_are_written() -> None:
    assert sizes.sizes_of("192, 128,160,128") == [128, 160, 192]


@pytest.mark.parametrize("text", ["", "a", "0", "-8", "128;160", "128,", "1e3", "65501", "\u00b2"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(DataError, match=r"--sizes .*: expected shorter sides in px, as in 128,160,192"):
        sizes.sizes_of(text)


def test_the_longer_side_is_limited_in_proportion() -> None:
    cfg = small_config("tiny", "INPUT.MIN_SIZE_TEST", "160", "INPUT.MAX_SIZE_TEST", "400")
    assert sizes.longest_for(160, cfg) == 400
    assert sizes.longest_for(200, cfg) == 500
    narrow = small_config("tiny", "INPUT.MIN_SIZE_TEST", "160", "INPUT.MAX_SIZE_TEST", "100")
    assert sizes.longest_for(200, narrow) == 200  # never below the shorter side


def test_the_best_size_has_the_highest_ap() -> None:
    assert sizes.best({96: 0.1, 160: 0.3, 192: 0.4}, 160) == 192
    # Of equals, the nearest to what the model was trained for; and the smaller of two.
    assert sizes.best({96: 0.4, 136: 0.4, 272: 0.4}, 160) == 136
    assert sizes.best({152: 0.4, 168: 0.4}, 160) == 152


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    assert sizes.read(tmp_path) is None
    path = sizes.write(tmp_path, FOUND)
    assert path == tmp_path / "test_size.yaml"
    assert sizes.read(tmp_path) == FOUND
    assert sizes.read(tmp_path).overrides == ("INPUT.MIN_SIZE_TEST", "192", "INPUT.MAX_SIZE_TEST", "480")  # type: ignore[union-attr]
    assert [item.name for item in tmp_path.iterdir()] == ["test_size.yaml"]
    assert str(FOUND) == "192 px, AP 42.8 on 87 images with model_best.pth"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("shorter: 192", "missing required field"),
        ("- 1", "Expected `object`, got `array`"),
        ("a: [", "not readable as YAML"),
        (
            "{shorter: 0, longest: 9, ap: {}, checkpoint: a, sha256: b, images: 1, seen: 0}",
            "expected sizes above 0, found 0 and 9",
        ),
        (
            "{shorter: 9, longest: 8, ap: {}, checkpoint: a, sha256: b, images: 1, seen: 0}",
            "expected sizes above 0, found 9 and 8",
        ),
        ("{shorter: x, longest: 9, ap: {}, checkpoint: a, sha256: b, images: 1, seen: 0}", "Expected `int`, got `str`"),
    ],
)
def test_another_content_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "test_size.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        sizes.read(tmp_path)
    assert str(tmp_path / "test_size.yaml") in str(caught.value)
    assert said in str(caught.value)
