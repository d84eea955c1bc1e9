"""scripts/download_bccd.py against a server on 127.0.0.1, with an archive of three pictures in GitHub's layout."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from datasets import coco, spec
from datasets.errors import DataError
from datasets.images import encode_jpeg, encode_png
from scripts import download_bccd as script
from scripts.downloading import bccd
from tests.command_line import Ended, in_shell
from tests.conftest import picture
from tests.scripts.web import NOW, Server, Trick, serving, zipped

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "download_bccd.py"
ROOT = "BCCD_Dataset-d272fb1"
PATH = "/archive/d272fb1.zip"
WIDTH, HEIGHT = 32, 24


def xml(*objects: tuple[str, int, int, int, int]) -> bytes:
    """An annotation file with (category, xmin, ymin, xmax, ymax) of each object."""
    items = "".join(
        f"<object><name>{name}</name><pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult><bndbox>"
        f"<xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for name, x0, y0, x1, y1 in objects
    )
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height><depth>3</depth></size>"
    return f"<annotation><filename>x.jpg</filename>{size}<segmented>0</segmented>{items}</annotation>".encode()


def jpeg(seed: int) -> bytes:
    return bytes(encode_jpeg(picture(WIDTH, HEIGHT, seed), 90))


FILES = {
    "README.md": b"# BCCD",
    "LICENSE": b"MIT License\n",
    "example.jpg": b"no picture of the data",
    "BCCD/ImageSets/Main/train.txt": b"B_2\nB_0\n",
    "BCCD/ImageSets/Main/val.txt": b"B_1\n",
    "BCCD/ImageSets/Main/trainval.txt": b"B_0\nB_1\nB_2\n",
    "BCCD/Annotations/B_0.xml": xml(("WBC", 1, 1, 32, 24), ("RBC", 5, 5, 5, 5), ("Platelets", 20, 10, 40, 30)),
    "BCCD/Annotations/B_1.xml": xml(("RBC", 0, 0, 10, 10)),
    "BCCD/Annotations/B_2.xml": xml(("RBC", 2, 3, 12, 13)),
    **{f"BCCD/JPEGImages/B_{number}.jpg": jpeg(number) for number in range(3)},
}


def archive(changes: dict[str, bytes | None] | None = None) -> bytes:
    """The archive, with some files changed, added or (None) left out."""
    files = {**FILES, **(changes or {})}
    return zipped({f"{ROOT}/": b"", **{f"{ROOT}/{name}": data for name, data in files.items() if data is not None}})


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def listing(*numbers: int) -> str:
    """What sha256sum prints."""
    names = [f"B_{number}.jpg" for number in numbers]
    return "".join(f"{hashlib.sha256(FILES[f'BCCD/JPEGImages/{name}']).hexdigest()}  {name}\n" for name in names)


CATEGORIES = "category 1 RBC\ncategory 2 WBC\ncategory 3 Platelets\n"
# The point has no area; (20, 10, 40, 30) is cut at the picture's edges, 32 and 24.
TRAIN = (
    f"{CATEGORIES}image 1 B_0.jpg 32 24\nimage 2 B_2.jpg 32 24\n"
    "object 1 1 2 0 [1.0, 1.0, 31.0, 23.0]\nobject 2 1 3 0 [20.0, 10.0, 12.0, 14.0]\n"
    "object 3 2 1 0 [2.0, 3.0, 10.0, 10.0]\n"
)
VAL = f"{CATEGORIES}image 1 B_1.jpg 32 24\nobject 1 1 1 0 [0.0, 0.0, 10.0, 10.0]\n"
SPLITS = {
    "train": bccd.Split(2, 3, sha256(listing(0, 2)), sha256(TRAIN)),
    "val": bccd.Split(1, 1, sha256(listing(1)), sha256(VAL)),
}


def chunked(body: bytes) -> Trick:
    """GitHub's answer: in chunks, without Content-Length, whatever Range asks for."""
    pieces = [body[at : at + 500] for at in range(0, len(body), 500)]
    coded = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])
    return Trick(body=coded, whole=True, headers={"Content-Length": None, "Transfer-Encoding": "chunked"})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with serving({PATH: archive()}, monkeypatch) as running:
        yield running


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "bccd"


def fetch(server: Server, out: Path, accept: bool = False) -> None:
    script.fetch(out, f"{server.url}{PATH}", None, accept, splits=SPLITS, waits=NOW)


def refused(server: Server, out: Path, body: bytes | None = None) -> str:
    """The text of the error that fetching, of an archive of these bytes, ends in."""
    if body is not None:
        server.files[PATH] = body
    with pytest.raises(DataError) as caught:
        fetch(server, out)
    assert list(out.parent.iterdir()) == []
    return str(caught.value)


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# The way it should go


@pytest.mark.parametrize("trick", [Trick(), chunked(archive())])
def test_splits_are_written_and_a_second_run_asks_for_nothing(
    server: Server, out: Path, capsys: pytest.CaptureFixture[str], trick: Trick
) -> None:
    server.tricks = [trick]
    fetch(server, out)
    assert names(out) == [
        "LICENSE",
        "annotations/instances_train.json",
        "annotations/instances_val.json",
        "train/B_0.jpg",
        "train/B_2.jpg",
        "val/B_1.jpg",
    ]
    assert (out / "LICENSE").read_bytes() == FILES["LICENSE"]
    assert (out / "val" / "B_1.jpg").read_bytes() == FILES["BCCD/JPEGImages/B_1.jpg"]
    assert capsys.readouterr().out.splitlines() == [
        f"train: 2 images in {out / 'train'}",
        f"val: 1 images in {out / 'val'}",
        "left out: 1 objects without area",
    ]
    fetch(server, out)
    assert len(server.seen) == 1
    assert capsys.readouterr().out == f"{out}: already there\n"
    assert list(out.parent.iterdir()) == [out]


def test_annotations_are_plain_coco(server: Server, out: Path) -> None:
    fetch(server, out)
    document = json.loads((out / "annotations" / "instances_train.json").read_bytes())
    assert document["categories"] == [
        {"id": 1, "name": "RBC"},
        {"id": 2, "name": "WBC"},
        {"id": 3, "name": "Platelets"},
    ]
    assert document["images"][0] == {"id": 1, "file_name": "B_0.jpg", "width": 32, "height": 24, "license": 1}
    assert document["annotations"][1] == {
        "id": 2,
        "image_id": 1,
        "category_id": 3,
        "bbox": [20.0, 10.0, 12.0, 14.0],
        "area": 12.0 * 14.0,
        "iscrowd": 0,
    }
    assert document["licenses"][0]["id"] == 1
    coco.read(out / "annotations" / "instances_train.json", strict=True)  # raises where anything needs a repair


def test_an_archive_at_hand_is_used_and_kept(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "bccd.zip"
    path.write_bytes(archive())
    script.fetch(out, "http://nowhere.invalid", path, splits=SPLITS)
    assert names(out / "val") == ["B_1.jpg"]
    assert path.read_bytes() == archive()


# The network


def test_cut_downloads_start_over(server: Server, out: Path) -> None:
    server.tricks = [
        Trick(cut=700),  # of a body with Content-Length
        chunked(archive())._replace(cut=700),
        chunked(archive())._replace(cut=700, reset=True),
        Trick(status=503),
    ]
    fetch(server, out)
    assert server.ranges == [None] * 5
    assert names(out / "train") == ["B_0.jpg", "B_2.jpg"]


def test_five_attempts_end_it(server: Server, out: Path) -> None:
    server.tricks = [Trick(cut=700), Trick(cut=900), Trick(cut=1100)] * 3  # more each time, and none of it is kept
    text = refused(server, out)
    url = f"{server.url}{PATH}"
    assert text.splitlines() == [
        f"{url}: no progress in 5 attempts",
        f"  the connection ended after 900 of {len(archive())} bytes",
        f"  try again later, or download {url} by hand, and give its name as --archive",
    ]
    assert len(server.seen) == 5


def test_an_archive_cut_without_a_sign_is_damaged(server: Server, out: Path) -> None:
    server.tricks = [Trick(cut=700, headers={"Content-Length": None})]
    assert refused(server, out) == f"{server.url}{PATH}: cannot be unpacked: File is not a zip file"


@pytest.mark.parametrize("headers", [{}, {"Content-Length": None}])
def test_an_endless_answer_is_refused(
    server: Server, out: Path, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str | None]
) -> None:
    monkeypatch.setattr(script, "LARGEST", 1_000)
    server.tricks = [Trick(headers=headers)]
    assert "expected at most 1000 bytes, found " in refused(server, out)
    assert len(server.seen) == 1


def test_missing_file_is_named(server: Server, out: Path) -> None:
    server.files.clear()
    assert refused(server, out) == f"{server.url}{PATH}: expected HTTP status 200 or 206, found 404"


def test_full_disk_is_refused_before_the_first_request(
    server: Server, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10**9, 0, script.ROOM - 1))
    assert f"expected {script.ROOM:,} bytes of free disk space, found {script.ROOM - 1:,}" in refused(server, out)
    assert server.seen == []


# The archive


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"BCCD/ImageSets/Main/val.txt": b"../../evil\n"}, "expected the name of an image without its suffix"),
        ({"BCCD/ImageSets/Main/val.txt": b"B_1\nB_0\n"}, "B_0: expected in one split, found in train and val"),
        ({"BCCD/ImageSets/Main/val.txt": None}, "BCCD/ImageSets/Main/val.txt: expected a file, found none"),
        ({"BCCD/ImageSets/Main/val.txt": b"\xff\xfe"}, "expected the name of an image without its suffix, found"),
        ({"BCCD/ImageSets/Main/val.txt": b"B_1\n" * 30_000}, "expected at most 100,000 bytes, found 120,000"),
        ({"BCCD/Annotations/B_1.xml": None}, "BCCD/Annotations/B_1.xml: expected a file, found none"),
        ({"BCCD/Annotations/B_1.xml": b" " * 1_000_001}, "expected at most 1,000,000 bytes, found 1,000,001"),
        ({"BCCD/Annotations/B_1.xml": b"<annotation>"}, "BCCD/Annotations/B_1.xml: not a well-formed XML file"),
        ({"BCCD/JPEGImages/B_1.jpg": None}, "BCCD/JPEGImages/B_1.jpg: expected a file, found none"),
        ({"BCCD/JPEGImages/B_1.jpg": b"<html>"}, "BCCD/JPEGImages/B_1.jpg: expected "),
        ({"BCCD/JPEGImages/B_1.jpg": jpeg(1)[:-100]}, "BCCD/JPEGImages/B_1.jpg: expected "),
        ({"BCCD/JPEGImages/B_1.jpg": bytes(encode_png(picture(32, 24, 1)))}, "expected a JPEG, found a PNG"),
        ({"BCCD/JPEGImages/B_1.jpg": bytes(encode_jpeg(picture(24, 32, 1), 90))}, "size, 24 x 32, found 32 x 24"),
        ({"LICENSE": None}, "LICENSE: expected a file, found none"),
        ({"../evil": b"evil"}, "expected a path in BCCD_Dataset-d272fb1/"),
    ],
)
def test_an_archive_that_cannot_be_used(server: Server, out: Path, changes: dict[str, bytes | None], said: str) -> None:
    text = refused(server, out, archive(changes))
    assert text.startswith(f"{server.url}{PATH}: ")
    assert said in text


def test_all_offenders_are_named_at_once(server: Server, out: Path) -> None:
    changes = {"BCCD/Annotations/B_2.xml": xml(("Cell", 1, 1, 2, 2)), "BCCD/JPEGImages/B_1.jpg": None, "LICENSE": None}
    text = refused(server, out, archive(changes))
    assert text.splitlines() == [
        f"{server.url}{PATH}: 3 file(s) cannot be used",
        "  BCCD/Annotations/B_2.xml: object 1: expected <name> to be one of RBC, WBC, Platelets, found 'Cell'",
        "  BCCD/JPEGImages/B_1.jpg: expected a file, found none",
        "  LICENSE: expected a file, found none",
    ]


def test_damaged_archives_and_bombs_are_refused(server: Server, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = archive()
    at = body.index(b"BCCD/JPEGImages/B_1.jpg") + 60
    assert "cannot be unpacked" in refused(server, out, body[:at] + b"????" + body[at + 4 :])
    assert "cannot be unpacked" in refused(server, out, b"no zip at all")
    assert "expected 1 to" in refused(server, out, zipped({}))
    monkeypatch.setattr(bccd, "UNPACKED", 1_000)
    assert "expected 1 to 1000 bytes once unpacked, found" in refused(server, out, body)


# Other data than expected


def test_a_changed_upstream_is_noticed_and_accepted_on_request(
    server: Server, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = archive({"BCCD/JPEGImages/B_1.jpg": jpeg(9), "BCCD/Annotations/B_2.xml": xml(("RBC", 2, 3, 12, 14))})
    text = refused(server, out, changed)
    assert f"{server.url}{PATH}: expected BCCD as of commit d272fb1, found differences\n" in text
    assert f"  train: expected {SPLITS['train'].object_digest} as the digest of its objects, found " in text
    assert f"  val: expected {SPLITS['val'].image_digest} as the digest of its images, found " in text
    assert len(text.splitlines()) == 4
    assert text.splitlines()[-1].endswith("--accept-changes takes it as it is")
    fetch(server, out, accept=True)
    assert capsys.readouterr().err.count("warning: ") == 2
    assert (out / "val" / "B_1.jpg").read_bytes() == jpeg(9)


def test_counts_are_told(server: Server, out: Path) -> None:
    text = refused(server, out, archive({"BCCD/ImageSets/Main/train.txt": b"B_0\n"}))
    assert "  train: expected 2 images, found 1\n  train: expected 3 objects, found 2\n" in text


def spoil_image(out: Path) -> None:
    (out / "val" / "B_1.jpg").write_bytes(jpeg(9))


def remove_split(out: Path) -> None:
    shutil.rmtree(out / "val")


def remove_annotations(out: Path) -> None:
    shutil.rmtree(out / "annotations")


@pytest.mark.parametrize("spoil", [spoil_image, remove_split, remove_annotations])
def test_a_folder_with_something_else_in_it_is_left_alone(
    server: Server, out: Path, spoil: Callable[[Path], None]
) -> None:
    fetch(server, out)
    spoil(out)
    before = names(out)
    with pytest.raises(DataError, match="expected a new or empty folder, or BCCD, found something else") as caught:
        fetch(server, out)
    assert str(caught.value).endswith("\nremove it, or name another --output")
    assert len(server.seen) == 1
    assert names(out) == before


def test_an_interrupted_run_leaves_nothing(server: Server, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_arguments: object) -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "read", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fetch(server, out)
    assert list(out.parent.iterdir()) == []
    fetch(server, out)
    assert names(out / "val") == ["B_1.jpg"]


# The command line


def command(*arguments: object) -> Ended:
    return in_shell(script.main, "download_bccd.py", *arguments)


def test_command_and_its_exit_codes(server: Server, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"{server.url}{PATH}"
    refusal = command("--output", out, "--url", url)  # the archive of three pictures is not BCCD
    assert refusal.code == 1
    assert refusal.err.startswith(f"error: {url}: ")
    assert not out.exists()
    monkeypatch.setattr(bccd, "SPLITS", SPLITS)
    done = command("--output", out, "--url", url)
    assert (done.code, done.err) == (0, "")
    assert command("--output", out).out == f"{out}: already there\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--url", "ftp://example.org"], "expected http://... or https://..., found 'ftp://example.org'"),
        (["--archive", "missing.zip"], "missing.zip"),
    ],
)
def test_wrong_usage_exits_with_2(out: Path, words: list[str], said: str) -> None:
    ended = command("--output", out, *words)
    assert ended.code == 2
    assert said in ended.err
    assert not out.exists()


def test_help_has_an_example_and_imports_nothing_heavy(tmp_path: Path) -> None:
    heavy = ["urllib.request", "http.client", "tqdm", "numpy", "xml.etree.ElementTree", "zipfile"]
    code = (
        "import runpy, sys\nsys.argv = ['download_bccd.py', '--help']\n"
        f"try: runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
        f"finally: print('loaded:', [name for name in {heavy} if name in sys.modules])"
    )
    # From elsewhere and isolated from PYTHONPATH: the script finds the project by itself.
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=10
    )
    assert done.returncode == 0, done.stderr
    assert "--output datasets/bccd" in done.stdout
    assert "loaded: []" in done.stdout


def test_the_table_and_the_spec_are_of_the_same_splits() -> None:
    assert list(bccd.SPLITS) == ["train", "val", "test"]
    assert sum(split.images for split in bccd.SPLITS.values()) == 364  # as BCCD's README has it
    assert sum(split.objects for split in bccd.SPLITS.values()) == 4888 - 2  # of its boxes, two are points
    assert script.COMMIT in script.URL
    assert "bccd" in spec.shipped()
