"""The cache of donors: bounded, and never older than the file."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from augment.compiler.decoded import DonorCache
from datasets.errors import DataError
from datasets.image_files import Examined
from datasets.images import examine
from datasets.records import Image
from datasets.sources import Source

WIDTH, HEIGHT = 20, 10
BYTES = WIDTH * HEIGHT * 3


def source(path: Path, value: int) -> Source:
    """A file of one grey value, examined."""
    PillowImage.new("RGB", (WIDTH, HEIGHT), (value, value, value)).save(path, "PNG")
    data = path.read_bytes()
    examined = Examined(examine(data, WIDTH, HEIGHT), len(data), path.stat().st_mtime_ns)
    image = Image(id=value, file_name=path.name, width=WIDTH, height=HEIGHT)
    return Source(0, image, [], path, examined)


def test_a_picture_is_decoded_once_and_the_last_used_ones_are_kept(tmp_path: Path) -> None:
    cache = DonorCache(2 * BYTES)
    one, two, three = (source(tmp_path / f"{value}.png", value) for value in (1, 2, 3))

    first = cache.get(one)
    cache.get(two)
    assert cache.get(one) is first
    cache.get(three)
    # The second was used least recently.
    assert cache.get(one) is first
    two.path.unlink()
    with pytest.raises(DataError, match="changed while the build ran"):
        cache.get(two)
    assert first.pixels.shape == (HEIGHT, WIDTH, 3)
    assert (first.pixels == 1).all()
    assert first.sha256 == hashlib.sha256(one.path.read_bytes()).hexdigest()


def test_a_picture_larger_than_the_cache_is_not_kept_and_pushes_nobody_out_for_ever(tmp_path: Path) -> None:
    cache = DonorCache(BYTES - 1)
    one = source(tmp_path / "1.png", 1)

    assert cache.get(one) is not cache.get(one)
    np.testing.assert_array_equal(cache.get(one).pixels, cache.get(one).pixels)


def test_a_file_that_changed_since_the_check_is_refused(tmp_path: Path) -> None:
    one = source(tmp_path / "1.png", 1)
    os.utime(one.path, ns=(0, 0))

    with pytest.raises(DataError, match="changed while the build ran; give the same command again"):
        DonorCache().get(one)


def test_a_file_that_was_checked_again_is_decoded_again(tmp_path: Path) -> None:
    cache = DonorCache()
    before = cache.get(source(tmp_path / "a.png", 1))
    changed = source(tmp_path / "a.png", 2)
    os.utime(changed.path, ns=(1, 1))
    changed.examined = changed.examined._replace(mtime_ns=1)  # type: ignore[union-attr]

    assert (before.pixels == 1).all()
    assert (cache.get(changed).pixels == 2).all()


def test_a_donor_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    PillowImage.effect_noise((64, 64), 80).save(path, "JPEG")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = b"\xff\xd9" * 20
    path.write_bytes(data)
    examined = Examined(examine(bytes(data), 64, 64), len(data), path.stat().st_mtime_ns)
    broken = Source(0, Image(id=1, file_name="a.jpg", width=64, height=64), [], path, examined)

    with pytest.raises(DataError, match=r"a\.jpg: ") as caught:
        DonorCache().get(broken)
    assert "--skip-bad" in caught.value.advice


def test_two_inputs_that_read_a_file_in_two_ways_each_get_their_own(tmp_path: Path) -> None:
    """A picture that lies on its side, once as stored and once upright."""
    path = tmp_path / "a.jpg"
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    PillowImage.effect_noise((WIDTH, HEIGHT), 60).save(path, "JPEG", exif=exif)
    data = path.read_bytes()
    cache = DonorCache()
    for width, height in ((WIDTH, HEIGHT), (HEIGHT, WIDTH), (WIDTH, HEIGHT)):
        examined = Examined(examine(data, width, height), len(data), path.stat().st_mtime_ns)
        image = Image(id=1, file_name="a.jpg", width=width, height=height)
        assert cache.get(Source(0, image, [], path, examined)).pixels.shape == (height, width, 3)
