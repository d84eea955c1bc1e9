"""scripts/download_coco.py against a real server on 127.0.0.1 that misbehaves on request, with archives of some KB."""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import io
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from types import ModuleType
from typing import Any

import click
import pytest

from datasets import cli
from datasets.errors import DataError
from scripts.downloading import transfer
from tests.scripts.web import NOW, Server, Trick, serving, zipped

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "download_coco.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("download_coco", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


coco = load()


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


FILES = {
    "train2017": {"000000000009.jpg": noise(1, 30_000), "000000000025.jpg": noise(2, 20_000)},
    "val2017": {"000000000139.jpg": noise(3, 10_000)},
    "annotations": {"instances_train2017.json": b"{}" * 4_000, "instances_val2017.json": b"[]"},
}
PATHS = {
    "train2017": "zips/train2017.zip",
    "val2017": "zips/val2017.zip",
    "annotations": "annotations/annotations_trainval2017.zip",
}


def entry(folder: str, body: bytes, unpacked: int = 60_000) -> Any:
    """A row of the table for an archive whose bytes are `body`."""
    return coco.Archive(folder, PATHS[folder], len(body), hashlib.md5(body).hexdigest(), unpacked)


BODIES = {
    folder: zipped({f"{folder}/": b"", **{f"{folder}/{name}": content for name, content in files.items()}})
    for folder, files in FILES.items()
}
TABLE = [entry(folder, body) for folder, body in BODIES.items()]
TRAIN = TABLE[0]
BODY = BODIES["train2017"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    files = {f"/{PATHS[folder]}": body for folder, body in BODIES.items()}
    with serving(files, monkeypatch) as running:
        yield running


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "coco"
    folder.mkdir()
    return folder


def fetch(server: Server, out: Path, table: list[Any] | None = None, keep: bool = False) -> None:
    coco.fetch([TRAIN] if table is None else table, out, server.url, keep, NOW)


def refused(server: Server, out: Path, table: list[Any] | None = None) -> str:
    """The text of the error that fetching ends in."""
    with pytest.raises(DataError) as caught:
        fetch(server, out, table)
    assert not (out / "train2017").exists()
    assert not (out / "train2017.zip").exists() or table
    assert not list(out.glob(".*.unpacking"))
    return str(caught.value)


def unpacked(out: Path, folder: str = "train2017") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (out / folder).iterdir()}


def names(out: Path) -> list[str]:
    return sorted(path.name for path in out.iterdir())


def leave_part(out: Path, content: bytes) -> Path:
    part = out / "train2017.zip.part"
    part.write_bytes(content)
    return part


# The way it should go


def test_three_parts_are_unpacked_and_a_second_run_asks_for_nothing(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "coco"
    fetch(server, out, TABLE)
    assert {folder: unpacked(out, folder) for folder in FILES} == FILES
    assert names(out) == ["annotations", "train2017", "val2017"]
    assert server.seen == [(f"/{archive.path}", None) for archive in TABLE]
    capsys.readouterr()
    fetch(server, out, TABLE)
    assert len(server.seen) == len(TABLE)
    assert capsys.readouterr().out.splitlines() == [f"{archive.folder}: already there" for archive in TABLE]


def test_kept_archive_is_reused(server: Server, out: Path) -> None:
    fetch(server, out, keep=True)
    assert (out / "train2017.zip").read_bytes() == BODY
    shutil.rmtree(out / "train2017")
    fetch(server, out)
    assert unpacked(out) == FILES["train2017"]
    assert names(out) == ["train2017"]
    assert len(server.seen) == 1


def test_an_empty_folder_is_not_taken_for_unpacked(server: Server, out: Path) -> None:
    (out / "train2017").mkdir()
    fetch(server, out)
    assert unpacked(out) == FILES["train2017"]


def test_archive_left_by_a_kill_between_unpacking_and_deleting_is_named(
    server: Server, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(server, out, keep=True)
    fetch(server, out)
    assert f"already there ({out / 'train2017.zip'} is no longer needed)" in capsys.readouterr().out


# Resuming


@pytest.mark.parametrize("length", [1, 20_000, len(BODY) - 1])
def test_part_left_by_a_kill_is_continued(server: Server, out: Path, length: int) -> None:
    leave_part(out, BODY[:length])
    fetch(server, out)
    assert server.ranges == [f"bytes={length}-"]
    assert unpacked(out) == FILES["train2017"]
    assert names(out) == ["train2017"]


def test_complete_part_needs_no_request(server: Server, out: Path) -> None:
    leave_part(out, BODY)
    fetch(server, out)
    assert server.seen == []
    assert unpacked(out) == FILES["train2017"]


@pytest.mark.parametrize("reset", [False, True])
def test_broken_connection_is_resumed(server: Server, out: Path, reset: bool) -> None:
    server.tricks = [Trick(cut=12_345, reset=reset)]
    fetch(server, out)
    assert unpacked(out) == FILES["train2017"]
    assert len(server.seen) == 2
    if not reset:  # what has arrived before a reset is up to the kernel
        assert server.ranges == [None, "bytes=12345-"]


def test_progress_resets_the_count(server: Server, out: Path) -> None:
    server.tricks = [Trick(cut=4_000)] * 12  # more than the 5 attempts that may pass without progress
    fetch(server, out)
    assert server.ranges == [None, *(f"bytes={4_000 * done}-" for done in range(1, 13))]
    assert unpacked(out) == FILES["train2017"]


def test_five_attempts_without_progress_end_it(server: Server, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.tricks = [Trick(cut=1_000), *[Trick(cut=0)] * 9]
    text = refused(server, out)
    assert server.ranges == [None, *["bytes=1000-"] * 5]
    url = f"{server.url}/zips/train2017.zip"
    assert f"{url}: no progress in 5 attempts" in text
    assert f"the connection ended after 1000 of {len(BODY)} bytes" in text
    assert f"1000 of {len(BODY)} bytes are in {out / 'train2017.zip.part'}" in text
    assert f"or download {url} by hand, save it as {out / 'train2017.zip'} and" in text
    assert (out / "train2017.zip.part").read_bytes() == BODY[:1_000]
    assert capsys.readouterr().err.count("trying again") == 5


def test_back_off_grows(server: Server, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    server.tricks = [Trick(cut=0), Trick(cut=0), Trick(cut=10), Trick(cut=0)]
    coco.fetch([TRAIN], out, server.url, False)
    assert slept == [1.0, 2.0, 1.0, 1.0]  # the third got further, the fourth is the first failure since


def test_stalled_connection_times_out_and_is_resumed(
    server: Server, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "TIMEOUT", 0.2)
    server.tricks = [Trick(cut=0, stall=True)]
    started = time.monotonic()
    fetch(server, out)
    assert time.monotonic() - started < 10  # the server would have held us for 20 s
    assert server.ranges == [None, None]
    assert unpacked(out) == FILES["train2017"]


def test_break_after_the_last_byte_is_no_failure(server: Server, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "TIMEOUT", 0.2)
    monkeypatch.setattr(transfer, "CHUNK", 1_000)
    body = zipped({"train2017/a.jpg": noise(5, 3_000)})
    whole = body + b"\0" * (-len(body) % 1_000)  # a multiple of the chunk, so that all of it is read before the stall
    server.tricks = [Trick(body=whole, stall=True, headers={"Content-Length": None})]
    fetch(server, out, [entry("train2017", whole)])
    assert server.ranges == [None]


# A server that does not do what it was asked for


def test_server_without_range_starts_over(server: Server, out: Path) -> None:
    leave_part(out, b"x" * 999)  # other bytes, to see that none of them stays
    server.tricks = [Trick(whole=True)]
    fetch(server, out)
    assert server.ranges == ["bytes=999-"]
    assert unpacked(out) == FILES["train2017"]


def test_server_without_range_that_breaks_off_does_not_hold_us_for_ever(server: Server, out: Path) -> None:
    server.tricks = [Trick(whole=True, cut=cut) for cut in (3_000, 2_000, 1_000, 2_500, 500, 2_999)] * 2
    assert "no progress in 5 attempts" in refused(server, out)
    assert len(server.seen) == 6


def test_part_longer_than_the_archive_starts_over(
    server: Server, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = leave_part(out, BODY + b"x")
    fetch(server, out)
    assert server.ranges == [None]
    assert unpacked(out) == FILES["train2017"]
    assert f"{part}: expected {len(BODY)} bytes, found {len(BODY) + 1}: starting over" in capsys.readouterr().err


def test_wrong_start_of_content_range_is_not_written(server: Server, out: Path) -> None:
    part = leave_part(out, BODY[:500])
    wrong = f"bytes 400-{len(BODY) - 1}/{len(BODY)}"
    server.tricks = [Trick(headers={"Content-Range": wrong})] * 5
    assert f"expected the bytes from 500 on, found Content-Range: {wrong}" in refused(server, out)
    assert part.read_bytes() == BODY[:500]
    fetch(server, out)
    assert server.ranges == ["bytes=500-"] * 6
    assert unpacked(out) == FILES["train2017"]


@pytest.mark.parametrize("span", [None, "bytes", "bytes */*"])
def test_206_without_a_usable_content_range_is_tried_again(server: Server, out: Path, span: str | None) -> None:
    leave_part(out, BODY[:500])
    server.tricks = [Trick(headers={"Content-Range": span})]
    fetch(server, out)
    assert server.ranges == ["bytes=500-"] * 2
    assert unpacked(out) == FILES["train2017"]


def test_416_starts_over(server: Server, out: Path) -> None:
    leave_part(out, b"x" * 500)
    server.tricks = [Trick(status=416, headers={"Content-Range": f"bytes */{len(BODY)}"})]
    fetch(server, out)
    assert server.ranges == ["bytes=500-", None]
    assert unpacked(out) == FILES["train2017"]


@pytest.mark.parametrize(
    ("trick", "found"),
    [
        (Trick(headers={"Content-Range": "bytes 500-998/999"}), "found Content-Range: bytes 500-998/999"),
        (Trick(status=416, headers={"Content-Range": "bytes */499"}), "found Content-Range: bytes */499"),
    ],
)
def test_file_of_another_size_behind_a_range_is_refused(server: Server, out: Path, trick: Trick, found: str) -> None:
    part = leave_part(out, BODY[:500])
    server.tricks = [trick]
    text = refused(server, out)
    assert f"{server.url}/zips/train2017.zip: expected a file of {len(BODY)} bytes, {found}" in text
    assert len(server.seen) == 1
    assert part.read_bytes() == BODY[:500]


@pytest.mark.parametrize("length", [7, len(BODY) + 1])
def test_content_length_of_another_file_is_refused(server: Server, out: Path, length: int) -> None:
    server.tricks = [Trick(headers={"Content-Length": str(length)})]
    assert f"expected {len(BODY)} bytes, found Content-Length: {length}" in refused(server, out)
    assert len(server.seen) == 1
    assert names(out) == []


def test_too_long_a_rest_is_refused(server: Server, out: Path) -> None:
    leave_part(out, BODY[:500])
    server.tricks = [Trick(headers={"Content-Length": str(len(BODY))})]
    assert f"expected {len(BODY) - 500} bytes, found Content-Length: {len(BODY)}" in refused(server, out)


def test_short_rest_is_completed_by_another_request(server: Server, out: Path) -> None:
    leave_part(out, BODY[:500])
    server.tricks = [Trick(headers={"Content-Length": "100"})]
    fetch(server, out)
    assert server.ranges == ["bytes=500-", "bytes=600-"]
    assert unpacked(out) == FILES["train2017"]


def test_more_bytes_than_announced_are_refused(server: Server, out: Path) -> None:
    server.tricks = [Trick(body=BODY + b"x", headers={"Content-Length": None})]
    assert f"expected {len(BODY)} bytes, found more" in refused(server, out)
    assert names(out) == []


def test_corrupted_bytes_are_removed(server: Server, out: Path) -> None:
    other = BODY[:100] + b"!!!!" + BODY[104:]
    server.tricks = [Trick(body=other)]
    text = refused(server, out)
    assert f"expected MD5 {TRAIN.md5}, found {hashlib.md5(other).hexdigest()}" in text
    assert names(out) == []
    fetch(server, out)
    assert unpacked(out) == FILES["train2017"]


@pytest.mark.parametrize("status", [204, 403, 404])
def test_final_statuses_are_named_at_once(server: Server, out: Path, status: int) -> None:
    server.tricks = [Trick(status=status)]
    text = refused(server, out)
    assert text == f"{server.url}/zips/train2017.zip: expected HTTP status 200 or 206, found {status}"
    assert len(server.seen) == 1


def test_passing_trouble_is_tried_again(server: Server, out: Path) -> None:
    server.tricks = [Trick(status=500), Trick(status=503)]
    fetch(server, out)
    assert len(server.seen) == 3
    server.tricks = [Trick(status=500)] * 9
    shutil.rmtree(out / "train2017")
    text = refused(server, out)
    assert f"{server.url}/zips/train2017.zip: no progress in 5 attempts\n  HTTP status 500\n" in text
    assert len(server.seen) == 3 + 5


# No server


def test_unknown_host_names_the_remedy(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_args: object, **_kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setenv("no_proxy", "nowhere.invalid")
    with pytest.raises(DataError) as caught:
        coco.fetch([TRAIN], out, "http://nowhere.invalid", False, NOW)
    text = str(caught.value)
    assert "Name or service not known" in text
    assert f"download http://nowhere.invalid/zips/train2017.zip by hand, save it as {out / 'train2017.zip'}" in text


def test_archive_saved_by_hand_is_used(server: Server, out: Path) -> None:
    leave_part(out, BODY[:500])
    (out / "train2017.zip").write_bytes(BODY)
    fetch(server, out)
    assert server.seen == []
    assert unpacked(out) == FILES["train2017"]
    assert names(out) == ["train2017"]


def test_archive_saved_by_hand_and_cut_is_refused_and_kept(server: Server, out: Path) -> None:
    (out / "train2017.zip").write_bytes(BODY[:-1])
    with pytest.raises(DataError, match=f"expected {len(BODY)} bytes, found {len(BODY) - 1}"):
        fetch(server, out)
    assert names(out) == ["train2017.zip"]


def test_refused_connection_and_unusable_urls(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port meanwhile
        with pytest.raises(DataError, match=r"no progress in 5 attempts\n.*refused"):
            coco.fetch([TRAIN], out, f"http://127.0.0.1:{closed.getsockname()[1]}", False, NOW)
    for url in ("http://[bad", "http://host:port", "http://a b", "http://\u00e9 "):
        with pytest.raises(DataError, match="not a usable URL"):
            coco.fetch([TRAIN], out, url, False, NOW)


# Disk


def test_full_disk_is_refused_before_the_first_request(
    server: Server, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_part(out, BODY[:500])
    needed = len(BODY) - 500 + TRAIN.unpacked
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10**9, 0, needed - 1))
    text = refused(server, out)
    assert text == f"{out}: expected {needed:,} bytes of free disk space, found {needed - 1:,}"
    assert server.seen == []
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10**9, 0, needed))
    fetch(server, out)
    assert unpacked(out) == FILES["train2017"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_disk_that_fills_up_is_not_taken_for_the_network(server: Server, out: Path) -> None:
    (out / "train2017.zip.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        fetch(server, out)
    assert caught.value.errno == errno.ENOSPC
    assert len(server.seen) == 1


def test_room_needed() -> None:
    first = coco.Archive("train2017", "a.zip", 100, "", 110)
    second = coco.Archive("val2017", "b.zip", 10, "", 30)
    assert coco.room_needed([], keep=False) == 0
    assert coco.room_needed([(first, 40)], keep=False) == 60 + 110
    # The first zip is gone when the second part begins, so its peak is 110 + 10 + 30, less than 100 + 110.
    assert coco.room_needed([(first, 0), (second, 0)], keep=False) == 210
    assert coco.room_needed([(first, 0), (second, 0)], keep=True) == 100 + 110 + 10 + 30
    assert coco.room_needed([(second, 10), (first, 0)], keep=False) == 30 - 10 + 100 + 110


# Unpacking


def link(name: str) -> bytes:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(info, "/etc/passwd")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "body",
    [
        *(
            zipped({"train2017/fine.jpg": b"fine", name: b"evil"})
            for name in ("../evil", "/evil", "train2017/../../evil", "train2017/..\\evil", "val2017/evil", "train2017")
        ),
        link("train2017/evil"),
    ],
)
def test_members_outside_of_the_folder_and_links_are_refused(server: Server, out: Path, body: bytes) -> None:
    server.tricks = [Trick(body=body)]
    text = refused(server, out, [entry("train2017", body)])
    assert "train2017.zip: refused, for 1 of its members\n" in text
    assert "expected a" in text
    assert names(out) == ["train2017.zip"]
    assert not list(out.parent.rglob("*evil*"))


def test_zip_bomb_is_refused(server: Server, out: Path) -> None:
    body = zipped({"train2017/zeros.jpg": bytes(2_001)})
    server.tricks = [Trick(body=body)]
    text = refused(server, out, [entry("train2017", body, unpacked=1_000)])
    assert "expected 1 to 2000 bytes once unpacked, found 2001" in text


def damaged() -> bytes:
    """A stored member with a byte changed, so that its CRC is wrong."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("train2017/a.jpg", b"good")
        file.writestr("train2017/b.jpg", b"bad?")
    return buffer.getvalue().replace(b"bad?", b"bad!")


@pytest.mark.parametrize(
    ("body", "reason"), [(damaged(), "CRC"), (b"no zip at all", "not a zip"), (zipped({}), "expected 1 to")]
)
def test_damaged_archive_leaves_nothing_unpacked(server: Server, out: Path, body: bytes, reason: str) -> None:
    server.tricks = [Trick(body=body)]
    text = refused(server, out, [entry("train2017", body)])
    assert reason in text
    assert "train2017.zip" in text
    assert names(out) == ["train2017.zip"]


def test_interrupted_unpacking_leaves_nothing_and_is_repeated(
    server: Server, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
        if not member.is_dir():
            raise KeyboardInterrupt
        original(self, member, path)

    original = zipfile.ZipFile.extract
    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "extract", interrupt)
        with pytest.raises(KeyboardInterrupt):
            fetch(server, out)
    assert names(out) == ["train2017.zip"]
    fetch(server, out)
    assert len(server.seen) == 1
    assert unpacked(out) == FILES["train2017"]


def test_what_a_killed_unpacking_left_is_cleared_away(server: Server, out: Path) -> None:
    left = out / ".train2017.unpacking" / "train2017"
    left.mkdir(parents=True)
    (left / "half.jpg").write_bytes(b"half")
    fetch(server, out)
    assert unpacked(out) == FILES["train2017"]
    assert names(out) == ["train2017"]


# The command line

DRIVER = """
import importlib.util, signal, sys
from datasets import cli
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background inherits that it is ignored
spec = importlib.util.spec_from_file_location("download_coco", sys.argv.pop(1))
coco = importlib.util.module_from_spec(spec)
spec.loader.exec_module(coco)
size, md5 = sys.argv.pop(1), sys.argv.pop(1)
coco.ARCHIVES = (coco.Archive("train2017", "zips/train2017.zip", int(size), md5, 60000),)
cli.run(coco.main, prog_name="download_coco")
"""


def command(server: Server, out: Path) -> list[str]:
    row = [str(TRAIN.size), TRAIN.md5]
    options = ["--output", str(out), "--parts", "train", "--base-url", server.url]
    return [sys.executable, "-c", DRIVER, str(SCRIPT), *row, *options]


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_killed_process_leaves_a_part_that_the_same_command_continues(
    server: Server, out: Path, monkeypatch: pytest.MonkeyPatch, sent: signal.Signals, code: int
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SCRIPT.parents[1]))
    part = leave_part(out, BODY[:700])
    server.tricks = [Trick(cut=100, stall=True)]
    with subprocess.Popen(command(server, out), stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 10
        while not server.seen and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(sent)
        _, err = process.communicate(timeout=10)
    assert process.returncode == code
    assert "Traceback" not in err
    server.over.set()
    assert names(out) == ["train2017.zip.part"]
    assert BODY.startswith(part.read_bytes())
    done = subprocess.run(command(server, out), capture_output=True, text=True, check=False, timeout=10)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"train2017: unpacked to {out / 'train2017'}\n"
    assert server.ranges[0] == "bytes=700-"
    assert len(server.seen) == 2
    assert unpacked(out) == FILES["train2017"]


def run_main(monkeypatch: pytest.MonkeyPatch, *words: str) -> object:
    monkeypatch.setattr(sys, "argv", ["download_coco.py", *words])
    with pytest.raises(SystemExit) as caught:
        cli.run(coco.main, prog_name="download_coco.py")
    return caught.value.code


def test_bad_data_exits_with_1(
    server: Server, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(coco, "ARCHIVES", TABLE)
    server.files.clear()
    assert run_main(monkeypatch, "--output", str(out), "--base-url", f"{server.url}/") == 1
    url = f"{server.url}/zips/train2017.zip"
    assert capsys.readouterr().err == f"error: {url}: expected HTTP status 200 or 206, found 404\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--parts", "train,test"], "expected some of train,val,annotations, found 'test'"),
        (["--parts", ""], "found ''"),
        (["--base-url", "ftp://example.org"], "expected http://... or https://..., found 'ftp://example.org'"),
    ],
)
def test_wrong_usage_exits_with_2(
    out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert run_main(monkeypatch, "--output", str(out), *words) == 2
    assert said in capsys.readouterr().err
    assert names(out) == []


def test_help_has_an_example_and_imports_nothing_heavy(tmp_path: Path) -> None:
    heavy = ["urllib.request", "http.client", "tqdm", "numpy"]
    code = (
        "import runpy, sys\nsys.argv = ['download_coco.py', '--help']\n"
        f"try: runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
        f"finally: print('loaded:', [name for name in {heavy} if name in sys.modules])"
    )
    # From elsewhere and isolated from PYTHONPATH: the script finds the project by itself.
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=10
    )
    assert done.returncode == 0, done.stderr
    assert "--output datasets/coco" in done.stdout
    assert "loaded: []" in done.stdout


# Decisions, without a server


def test_choose_keeps_the_order_of_the_table() -> None:
    assert [archive.part for archive in coco.choose("annotations, train,train", coco.ARCHIVES)] == [
        "train",
        "annotations",
    ]
    with pytest.raises(click.BadParameter):
        coco.choose("train,", coco.ARCHIVES)


def test_header_names_in_any_case_and_an_unknown_total() -> None:
    headers = Message()
    headers["content-range"] = "bytes 5-9/*"
    assert transfer.body_start(206, headers, 5, transfer.Remote("name", "url", 10)) == 5


def test_the_table_is_the_sites() -> None:
    assert [f"{coco.BASE_URL}/{archive.path}" for archive in coco.ARCHIVES] == [
        "http://images.cocodataset.org/zips/train2017.zip",
        "http://images.cocodataset.org/zips/val2017.zip",
        "http://images.cocodataset.org/annotations/annotations_trainval2017.zip",
    ]
    assert all(len(archive.md5) == 32 and archive.unpacked > archive.size for archive in coco.ARCHIVES)
