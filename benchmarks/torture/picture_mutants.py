"""Mutated pictures: segments of a JPEG and chunks of a PNG, their numbers and pixels, and other things under a
picture's name. Drawn by hypothesis.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from PIL import Image as PillowImage

from benchmarks.torture.picture_changes import ANY, INSTEAD, JPEG, PNG, PNG_HEAD, Change


class Mutant(NamedTuple):
    """`base` is a name in `bases`; `instead` is a name in INSTEAD, or None where the file is a file."""

    base: str
    changes: tuple[Change, ...]
    instead: str | None = None

    def __str__(self) -> str:
        return f"{self.base}: {self.instead or '; '.join(map(str, self.changes))}"


def bases(picture: np.ndarray[Any, np.dtype[np.uint8]]) -> dict[str, bytes]:
    """One picture, (height, width, 3), in the ways that files of it are written."""
    image = PillowImage.fromarray(picture)
    exif = PillowImage.Exif()
    exif[0x0112], exif[0x010E] = 3, "a description"
    thumbnail = image.resize((32, 24))
    grey16 = PillowImage.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)

    def written(image: PillowImage.Image, kind: str, **options: Any) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    return {
        "baseline": written(image, "JPEG", quality=85),
        "progressive": written(image, "JPEG", quality=85, progressive=True),
        "grey": written(image.convert("L"), "JPEG", quality=85),
        "cmyk": written(image.convert("CMYK"), "JPEG", quality=85),
        "restarts": written(image, "JPEG", quality=85, restart_marker_rows=1),
        "4:4:4 with EXIF": written(image, "JPEG", quality=85, subsampling=0, exif=exif, comment=b"a comment"),
        "with a profile": written(image, "JPEG", quality=85, icc_profile=b"\0" * 70_000),
        "png": written(image, "PNG"),
        "png palette": written(image.quantize(16), "PNG"),
        "png alpha": written(image.convert("RGBA"), "PNG"),
        "png 16 bits": written(grey16, "PNG"),
        "png with EXIF": written(image, "PNG", exif=exif),
        "gif": written(thumbnail, "GIF"),
        "bmp": written(thumbnail, "BMP"),
        "tiff": written(thumbnail, "TIFF"),
        "webp": written(thumbnail, "WEBP"),
    }


def mutants(pictures: dict[str, bytes]) -> st.SearchStrategy[Mutant]:
    """Of each kind of file as often as of any other."""
    share = st.floats(0, 1, width=32)
    value = st.one_of(
        st.sampled_from([0, 1, 2, 3, 7, 8, 255, 256, 65_500, 65_535, 2**31 - 1, 2**32 - 1]), st.integers(0, 2**32 - 1)
    )

    def of(base: str) -> st.SearchStrategy[Mutant]:
        own = JPEG if pictures[base].startswith(b"\xff\xd8") else PNG if pictures[base].startswith(PNG_HEAD) else {}
        how = st.sampled_from(sorted({**own, **ANY}))
        changes = st.lists(st.builds(Change, how, share, share, value), min_size=1, max_size=3).map(tuple)
        # One in eight is no file at all.
        return st.one_of(
            *[st.builds(Mutant, st.just(base), changes, st.none())] * 7,
            st.builds(Mutant, st.just(base), st.just(()), st.sampled_from(sorted(INSTEAD))),
        )

    return st.sampled_from(sorted(pictures)).flatmap(of)


def applied(pictures: dict[str, bytes], mutant: Mutant) -> bytes:
    data = pictures[mutant.base]
    for change in mutant.changes:
        table = {**JPEG, **PNG, **ANY}
        data = table[change.how](data, change)
    return data


def write(path: Path, pictures: dict[str, bytes], mutant: Mutant) -> None:
    """Put the mutant where `path` names a picture."""
    if mutant.instead is None:
        path.write_bytes(applied(pictures, mutant))
    else:
        INSTEAD[mutant.instead](path)
