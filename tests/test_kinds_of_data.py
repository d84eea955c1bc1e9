"""Every kind of fault that exports, disks and people's files showed, and what becomes of it: one row a kind.

Each row breaks a good dataset in the way that its source is known for, gives it to `datasets check`, `augment plan`,
`build` and `verify` as a user would, and says which of four outcomes is right (docs/reading.md): read, repaired, warned
of, or refused with the way out. The rules behind it have their tests in tests/datasets and tests/augment.
"""

# A row a line.
# ruff: noqa: E501

from __future__ import annotations

import gzip
import io
import json
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest
from PIL import Image as PillowImage

from augment.__main__ import main as augment
from datasets import cli
from datasets.__main__ import main as datasets
from tests.conftest import picture

WIDTH, HEIGHT = 64, 48
Outcome = Literal["read", "repaired", "warned", "refused"]


class Export(NamedTuple):
    """A folder with annotations.json and images/, to be broken. `document` is written after the change."""

    folder: Path
    document: dict[str, Any]

    @property
    def image(self) -> dict[str, Any]:
        return self.document["images"][0]  # type: ignore[no-any-return]

    @property
    def object(self) -> dict[str, Any]:
        """The first annotation: a box of 24 x 20 px at (8, 8), with its polygon."""
        return self.document["annotations"][0]  # type: ignore[no-any-return]

    @property
    def file(self) -> Path:
        return self.folder / "images" / "a.jpg"


class Kind(NamedTuple):
    """`says` is what is told of it; `way_out` are options that have it read, by `then`; `data` is what is written
    instead of the document, made of its text; `only_decoding` finds it, so that `check` needs --thorough."""

    name: str
    change: Callable[[Export], Any]
    outcome: Outcome
    says: str = ""
    way_out: tuple[str, ...] = ()
    then: str = ""
    data: Callable[[str], bytes] = str.encode
    only_decoding: bool = False


def with_image(**keys: Any) -> Callable[[Export], Any]:
    return lambda export: export.image.update(keys)


def with_object(**keys: Any) -> Callable[[Export], Any]:
    return lambda export: export.object.update(keys)


def without(record: str, *keys: str) -> Callable[[Export], Any]:
    return lambda export: [export.document[record][0].pop(key) for key in keys]


def another(record: str, **keys: Any) -> Callable[[Export], Any]:
    """The first record once more, with other values; a key of ... is left out."""
    return lambda export: export.document[record].append(
        {key: value for key, value in {**export.document[record][0], **keys}.items() if value is not ...}
    )


def named(written: str, on_disk: str) -> Callable[[Export], Any]:
    """The record names one file, the disk has another."""

    def rename(export: Export) -> None:
        export.image["file_name"] = written
        path = export.folder / "images" / on_disk
        path.parent.mkdir(exist_ok=True)
        export.file.rename(path)

    return rename


def saved(kind: str, **options: Any) -> Callable[[Export], Any]:
    """The picture in another format, under a name that says JPEG."""
    return lambda export: PillowImage.fromarray(picture(WIDTH, HEIGHT, 0)).save(export.file, kind, **options)


def bytes_of(change: Callable[[bytes], bytes]) -> Callable[[Export], Any]:
    return lambda export: export.file.write_bytes(change(export.file.read_bytes()))


def heic(_: bytes) -> bytes:
    """The beginning of what phones write as IMG_1.jpg."""
    return b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(400)


def zeroed_in_the_middle(export: Export) -> None:
    """A download that was resumed wrongly: head and end are right, and libjpeg decodes the rest as grey."""
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    PillowImage.fromarray(noise).save(buffer, "JPEG", quality=90)
    data = bytearray(buffer.getvalue())
    third = len(data) // 3
    data[third : 2 * third] = bytes(third)
    export.file.write_bytes(data)
    export.image.update(width=640, height=480)


def junk_before_tables(data: bytes) -> bytes:
    """As cameras write it, and libjpeg skips."""
    at = data.index(b"\xff\xdb")
    return data[:at] + b"\x00\x10 stray" + data[at:]


def turned_by_exif(*orientations: int) -> Callable[[Export], Any]:
    """Pictures that are stored as their records say, each with an EXIF orientation that the annotations ignore."""

    def turn(export: Export) -> None:
        for number, orientation in enumerate(orientations):
            exif = PillowImage.Exif()
            exif[0x0112] = orientation
            name = f"turned{number}.jpg"
            PillowImage.fromarray(picture(WIDTH, HEIGHT, number)).save(export.folder / "images" / name, exif=exif)
            export.document["images"].append({"id": 10 + number, "file_name": name, "width": WIDTH, "height": HEIGHT})
            export.document["annotations"].append({**export.object, "id": 10 + number, "image_id": 10 + number})

    return turn


def too_wide(export: Export) -> None:
    PillowImage.new("L", (70_000, 1)).save(export.folder / "images" / "wide.png")
    export.document["images"].append({"id": 9, "file_name": "wide.png", "width": 70_000, "height": 1})


def linked_from_outside(export: Export) -> None:
    export.file.rename(export.folder / "other.jpg")
    export.file.symlink_to("../other.jpg")


def only_crowds(export: Export) -> None:
    for item in export.document["annotations"]:
        item.update(iscrowd=1, segmentation={"size": [HEIGHT, WIDTH], "counts": [392, 20, 2660]})


def as_fractions(export: Export) -> None:
    for item in export.document["annotations"]:
        item.update(bbox=[0.1, 0.1, 0.5, 0.5], area=0.25, segmentation=[])


# Each with its source where that is public; numbers are those of issues in the project that is named.
KINDS = [
    # Numbers, flags and ids in other spellings.
    Kind("VGG VIA 2: the image's id as text", lambda e: (e.image.update(id=0), e.object.update(image_id="0")), "repaired", "number in another spelling"),
    Kind("ids as text", lambda e: (e.image.update(id="5"), e.object.update(image_id="5")), "repaired", "number in another spelling"),
    Kind("cvat 298: one flat polygon", with_object(segmentation=[8, 8, 32, 8, 32, 28, 8, 28]), "repaired", "not in a list of polygons"),
    Kind("a category that stands twice", another("categories"), "repaired", "stands twice"),
    *(Kind(f"iscrowd {flag!r}", with_object(iscrowd=flag), "repaired", "number in another spelling") for flag in (False, 0.0, "0", "false")),
    Kind(
        "supervision: a crowd by true",
        with_object(iscrowd=True, segmentation={"size": [HEIGHT, WIDTH], "counts": [0, 20, 3052]}),
        "repaired",
        "number in another spelling",
    ),
    Kind("COCO Annotator: iscrowd false, keys of its own", with_object(iscrowd=False, isbbox=False, metadata={}, color="#4fa"), "repaired", "number in another spelling"),
    Kind("an id beyond 2^53", with_object(id=9_223_372_036_854_775_813), "refused", "renumber the records"),
    Kind("supervision 285, cvat 2155: ids of annotations twice", another("annotations", bbox=[1, 1, 10, 10], segmentation=...), "repaired", "renumbered"),
    # Sizes that are not there.
    Kind("detectron2 1966: no size", without("images", "width", "height"), "repaired", "read from the file"),
    Kind("a size of null", with_image(width=None, height=None), "repaired", "read from the file"),
    Kind("VGG VIA 2: pictures that were not loaded, -1 x -1", with_image(width=-1, height=-1), "repaired", "read from the file"),
    # Boxes and masks.
    Kind("COCO Annotator: no mask, no box", another("annotations", id=9, segmentation=[], area=0, bbox=[0, 0, 0, 0]), "repaired", "zero area"),
    Kind("labelme 1213: a polygon of two points", with_object(segmentation=[[8, 8, 32, 28]]), "repaired", "no outline"),
    Kind("TACO: a line", another("annotations", id=9, bbox=[8, 8, 24, 0], area=0, segmentation=[[8, 8, 32, 8]]), "repaired", "zero area"),
    Kind("TACO: a box of infinities", another("annotations", id=9, bbox=[float("inf")] * 2 + [float("-inf")] * 2, segmentation=[[]]), "repaired", "left out"),
    Kind("TACO, label-studio 416: a box outside", with_object(bbox=[-3, 8, 24, 20]), "refused", "--clip-boxes", ("--clip-boxes",), "clipped (--clip-boxes)"),
    Kind("a box outside without a mask", with_object(bbox=[-1.32, 8, 24, 20], segmentation=[]), "refused", "--clip-boxes", ("--clip-boxes",), "clipped (--clip-boxes)"),
    Kind("boxes from their centre", lambda e: e.object.update(bbox=[60, 40, 24, 20], segmentation=[[48, 30, 64, 30, 64, 48, 48, 48]]), "refused", "--clip-boxes"),
    Kind("a negative width", with_object(bbox=[32, 28, -24, -20]), "refused", "--skip-bad", ("--skip-bad",), "left out (--skip-bad)"),
    Kind("no box, a mask", without("annotations", "bbox"), "repaired", "taken from the mask"),
    Kind("an empty box, a mask", with_object(bbox=[]), "repaired", "taken from the mask"),
    Kind("no box, no mask", without("annotations", "bbox", "segmentation"), "refused", "--skip-bad", ("--skip-bad",), "left out (--skip-bad)"),
    Kind("an object of no image", with_object(image_id=77), "refused", "--skip-bad", ("--skip-bad",), "left out (--skip-bad)"),
    # Names.
    Kind("label-studio-converter 139: backslashes", lambda e: e.image.update(file_name="images\\a.jpg"), "repaired", "backslashes"),
    Kind("dots that stay inside", with_image(file_name="x/../a.jpg"), "read"),
    Kind("a path that climbs out", with_image(file_name="../images/a.jpg"), "refused", "a path inside the image folder"),
    Kind("Unicode written in two ways", named("caf\u00e9.jpg", unicodedata.normalize("NFD", "caf\u00e9.jpg")), "refused", "Unicode"),
    Kind("%-escapes", named("my%20cat%231.jpg", "my cat#1.jpg"), "refused", "my cat#1.jpg"),
    Kind("another case", named("a.jpg", "A.JPG"), "refused", "A.JPG"),
    # What decides nothing.
    Kind("a date that is a number", with_image(date_captured=1_700_000_000.25), "read"),
    Kind("a licence of 1.0", with_image(license=1.0), "read"),
    Kind("an address of false", with_image(coco_url=False), "read"),
    Kind("a supercategory of 0", lambda e: e.document["categories"][0].update(supercategory=0), "read"),
    Kind("info that is a list, licences of null", lambda e: e.document.update(info=["by me"], licenses=None), "read"),
    # The bytes of the file.
    Kind("gzip", lambda _: None, "refused", "gunzip", data=lambda text: gzip.compress(text.encode())),
    Kind("UTF-16", lambda _: None, "refused", "UTF-16", data=lambda text: text.encode("utf-16")),
    Kind("a byte order mark", lambda _: None, "read", data=lambda text: b"\xef\xbb\xbf" + text.encode()),
    # Legal, and surely a mistake.
    Kind("cvat 7030: crowds only", only_crowds, "warned", "crowd"),
    Kind("automlForImages 27: boxes as fractions", as_fractions, "warned", "fraction"),
    Kind("masks that are elsewhere", with_object(segmentation=[[40, 30, 60, 30, 60, 46, 40, 46]]), "warned", "do not fit"),
    Kind("a mask of nothing", with_object(segmentation={"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}), "warned", "do not fit"),
    Kind("an object twice", another("annotations", id=9), "warned", "the image, category and box of another"),
    Kind("a category without an object", another("categories", id=9, name="dog"), "warned", "dog"),
    # Pictures.
    Kind("detectron2 5366: boxes on stored pixels, proved by one file", turned_by_exif(6, 3), "repaired", "EXIF orientation"),
    Kind("yolov5 3450: zeros in the middle of a JPEG", zeroed_in_the_middle, "refused", "a.jpg", ("--skip-bad",), "skipped: 1", only_decoding=True),
    Kind("darknet 5293: stray bytes in a JPEG's head", bytes_of(junk_before_tables), "read"),
    Kind("70,000 px wide", too_wide, "refused", "65,500", ("--skip-bad",), "skipped: 1"),
    Kind("WebP", saved("WEBP"), "refused", "WebP", ("--skip-bad",), "skipped: 1"),
    Kind("BMP", saved("BMP"), "refused", "BMP", ("--skip-bad",), "skipped: 1"),
    Kind("TIFF", saved("TIFF"), "refused", "TIFF", ("--skip-bad",), "skipped: 1"),
    Kind("GIF", saved("GIF"), "refused", "GIF", ("--skip-bad",), "skipped: 1"),
    Kind("HEIC by the name of a JPEG", bytes_of(heic), "refused", "HEIC", ("--skip-bad",), "skipped: 1"),
    Kind("cut short", bytes_of(lambda data: data[: len(data) // 2]), "refused", "cut short", ("--skip-bad",), "skipped: 1"),
    Kind("no size, and no picture to read it from", lambda e: (without("images", "width", "height")(e), e.file.write_bytes(b"")), "refused", "a.jpg: expected a JPEG or PNG file", ("--skip-bad",), "skipped: 1"),
    Kind("a link out of the folder", linked_from_outside, "refused", "--follow-links", ("--follow-links",)),
]  # fmt: skip


@pytest.fixture
def export(tmp_path: Path) -> Export:
    """Two pictures with an object each, and nothing wrong with them."""
    (tmp_path / "images").mkdir()
    for name, seed in (("a.jpg", 0), ("b.jpg", 1)):
        PillowImage.fromarray(picture(WIDTH, HEIGHT, seed)).save(tmp_path / "images" / name, quality=90)
    return Export(
        tmp_path,
        {
            "images": [
                {"id": 1, "file_name": "a.jpg", "width": WIDTH, "height": HEIGHT},
                {"id": 2, "file_name": "b.jpg", "width": WIDTH, "height": HEIGHT},
            ],
            "annotations": [
                {
                    "id": number,
                    "image_id": number,
                    "category_id": 1,
                    "bbox": [8, 8, 24, 20],
                    "area": 480,
                    "iscrowd": 0,
                    "segmentation": [[8, 8, 32, 8, 32, 28, 8, 28]],
                }
                for number in (1, 2)
            ],
            "categories": [{"id": 1, "name": "cat"}],
        },
    )


class Ended(NamedTuple):
    code: int
    out: str
    err: str


class Shell:
    """Runs commands as a shell would, on one export."""

    def __init__(self, export: Export, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._folder, self._monkeypatch, self._capsys = export.folder, monkeypatch, capsys

    def run(self, stage: Any, *command: str) -> Ended:
        self._monkeypatch.setattr(sys, "argv", ["python", *command])
        with pytest.raises(SystemExit) as stop:
            cli.run(stage, "python")
        return Ended(int(stop.value.code or 0), *self._capsys.readouterr())

    def _inputs(self) -> tuple[str, ...]:
        return "--annotations", str(self._folder / "annotations.json"), "--images", str(self._folder / "images")

    def check(self, *options: str) -> Ended:
        return self.run(datasets, "check", *self._inputs(), *options)

    def plan(self, *options: str) -> Ended:
        return self.run(augment, "plan", *self._inputs(), "--workers", "1", *options)

    def build(self, *options: str) -> Ended:
        """With `verify` of what was built."""
        out = self._folder / "out"
        ended = self.run(augment, "build", *self._inputs(), "--workers", "1", "--output", str(out), *options)
        if ended.code == 0:
            verified = self.run(augment, "verify", str(out), "--workers", "1")
            assert verified.code == 0, verified.err
        return ended


@pytest.fixture
def shell(export: Export, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(export, monkeypatch, capsys)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_kind_of_fault_has_its_outcome(kind: Kind, export: Export, shell: Shell) -> None:
    kind.change(export)
    (export.folder / "annotations.json").write_bytes(kind.data(json.dumps(export.document)))
    before = sorted(export.folder.rglob("*"))
    thorough = ("--thorough",) if kind.only_decoding else ()

    checked = shell.check(*thorough)

    if kind.outcome == "refused":
        assert (checked.code, checked.out) == (1, "")
        assert checked.err.startswith("error: ")
        assert kind.says in checked.err
        # The error names the file.
        assert str(export.folder) in checked.err
        if not kind.only_decoding:
            assert shell.plan().err == checked.err
        built = shell.build()
        assert built.code == 1
        assert kind.says in built.err
        assert sorted(export.folder.rglob("*")) == before or kind.only_decoding
        if kind.way_out:
            # A build that decoding stopped keeps what it has done for the same command.
            assert kind.then in shell.check(*kind.way_out).out
            assert shell.build("--restart", *kind.way_out).code == 0
        return
    assert checked.code == 0, checked.err
    assert shell.plan().code == 0
    assert shell.build().code == 0
    strict = shell.check("--strict")
    if kind.outcome == "repaired":
        assert any(line.startswith("repaired: ") and kind.says in line for line in checked.out.splitlines()), (
            checked.out
        )
        assert strict.code == 1
        assert "that --strict does not repair" in strict.err
    else:
        assert strict.code == 0, strict.err
        assert "repaired: " not in checked.out
        warnings = [line for line in checked.out.splitlines() if line.startswith("warning: ")]
        assert [kind.says in line for line in warnings] == [True] * (kind.outcome == "warned")


def test_pictures_without_objects_are_data_beside_others_that_have_some(export: Export, shell: Shell) -> None:
    """An input of background; alone it trains nothing, and is refused."""
    path = export.folder / "annotations.json"
    path.write_text(json.dumps(export.document))
    background = export.folder / "background.json"
    background.write_text(json.dumps({**export.document, "annotations": []}))
    inputs = ("--annotations", str(background), "--images", str(export.folder / "images"))
    out = ("--output", str(export.folder / "out"), "--workers", "1")

    alone = shell.run(augment, "build", *inputs, *out)
    assert alone.code == 1
    assert "expected objects in at least one input" in alone.err
    assert shell.build(*inputs).code == 0


def test_repairs_of_two_files_of_one_name_say_which(export: Export, shell: Shell) -> None:
    """Exports are all called annotations.json or instances_default.json."""
    export.object["iscrowd"] = False
    for name in ("first", "second"):
        (export.folder / name).mkdir()
        (export.folder / name / "annotations.json").write_text(json.dumps(export.document))
    inputs = [
        text
        for name in ("first", "second")
        for text in (
            "--annotations",
            str(export.folder / name / "annotations.json"),
            "--images",
            str(export.file.parent),
        )
    ]
    strict = shell.run(datasets, "check", *inputs, "--json")
    places = [place for found in json.loads(strict.out)["repairs"].values() for place in found]
    assert places == [
        "annotations.json (input 1) $.annotations[0]",
        "annotations.json (input 2) $.annotations[0]",
    ]
