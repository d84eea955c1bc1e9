"""The size of the picture that a compiled image is a part of, from the other images of its source."""

from __future__ import annotations

from datasets.records import Image, Turn
from train.data.geometry import scale_of
from train.data.source_sizes import source_sizes


def image(id_: int, width: int, height: int, **more: object) -> Image:
    return Image(id=id_, file_name=f"{id_}.jpg", width=width, height=height, **more)  # type: ignore[arg-type]


def test_a_crop_has_the_size_of_its_source() -> None:
    sizes = source_sizes(
        [
            image(1, 640, 480, source_input=0, source_id=9),
            image(2, 320, 240, source_input=0, source_id=9, window=(0, 0, 320, 240)),
            # Another input has another image of this id.
            image(3, 100, 90, source_input=1, source_id=9),
            image(4, 50, 45, source_input=1, source_id=9, window=(50, 45, 100, 90)),
        ]
    )
    assert sizes == {1: (480, 640), 2: (480, 640), 3: (90, 100), 4: (90, 100)}


def test_a_turned_image_has_the_same_scale() -> None:
    sizes = source_sizes(
        [
            image(1, 480, 640, source_input=0, source_id=9, turn=Turn(mirrored=False, degrees=90)),
            image(2, 320, 240, source_input=0, source_id=9, window=(0, 0, 320, 240)),
        ]
    )
    assert sizes[2] is not None
    assert scale_of(*sizes[2], 160, 200) == scale_of(480, 640, 160, 200)


def test_an_image_that_augment_did_not_make_is_its_own_source() -> None:
    assert source_sizes([image(1, 640, 480), image(2, 320, 240)]) == {1: (480, 640), 2: (240, 320)}


def test_without_a_whole_image_of_the_source_its_size_is_not_known() -> None:
    assert source_sizes([image(2, 320, 240, source_input=0, source_id=9, window=(0, 0, 320, 240))]) == {2: None}
