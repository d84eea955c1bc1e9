"""The bytes of an annotation file, and giving back their memory while the records are parsed."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from datasets.errors import DataError, Problems
from datasets.parsing import Document, parse_records, read_buffer, release
from datasets.records import Category

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("content", [b"", b"a", b"x" * 10_000, "größe".encode() * 5000])
def test_a_file_is_read_whole(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert bytes(read_buffer(path, "file")) == content


def test_a_pipe_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(b"from a pipe",))
    writer.start()
    assert bytes(read_buffer(path, "file")) == b"from a pipe"
    writer.join()


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none: the annotation file cannot be read: No such file"):
        read_buffer(tmp_path / "none", "annotation file")


def test_released_memory_reads_as_zeros_and_the_rest_stays(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text('{"images":[], "annotations": [' + ",".join(f'"{n:09d}"' for n in range(10_000)) + "]}")
    data = read_buffer(path, "file")
    raws = msgspec.json.decode(
        msgspec.json.decode(data, type=dict[str, msgspec.Raw])["annotations"], type=list[msgspec.Raw]
    )
    release(raws[9_000], data)
    assert [bytes(raw) for raw in raws[9_000:]] == [b'"%09d"' % n for n in range(9_000, 10_000)]
    if sys.platform == "linux":
        assert bytes(raws[0]) == bytes(11)
    # Bytes of Python's own cannot be given back.
    release(msgspec.Raw(b"1"), b"1")


def test_records_are_all_parsed_though_their_text_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    wanted = [{"id": n, "name": "x" * 50} for n in range(20_000)]
    path.write_bytes(msgspec.json.encode({"images": [1], "annotations": [1], "categories": wanted}))
    data = read_buffer(path, "file")
    document = Document.split(data, path)
    problems = Problems()
    found = parse_records(document.categories, Category, "categories", problems, set(), data=data)
    assert [(place, record.id) for place, record in found] == [(f"$.categories[{n}]", n) for n in range(20_000)]
    assert problems.count == 0


def test_places_may_count_from_elsewhere() -> None:
    raws = [msgspec.Raw(b'{"id":1,"name":"a"}'), msgspec.Raw(b'{"id":1,"name":"b"}'), msgspec.Raw(b"{}")]
    problems = Problems()
    found = list(parse_records(raws, Category, "categories", problems, set(), numbers=[7, 9, 12]))
    assert [place for place, _ in found] == ["$.categories[7]"]
    assert problems.kept[0] == "$.categories[9].id: expected an id of its own, found 1, which $.categories[7] has"
    assert problems.kept[1].startswith("$.categories[12]: ")


def test_memory_holds_the_text_or_the_records_but_not_both() -> None:
    """40 MB of text of which next to nothing is kept: the peak is the text, neither a copy nor a string of it."""
    if not Path("/proc/self/status").exists():
        pytest.skip("no /proc to read the memory from")
    code = """
import sys, tempfile, pathlib
from datasets import coco
def peak(): return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmHWM")) / 1000
path = pathlib.Path(tempfile.mkdtemp()) / "a.json"
with path.open("w") as file:
    file.write('{"categories":[{"id":1,"name":"a"}],"images":[{"id":1,"file_name":"a","width":9,"height":9}],"annotations":[')
    for n in range(400):
        record = f'"id":{n},"image_id":1,"category_id":1,"bbox":[0,0,1,1],"area":1,"iscrowd":0'
        file.write(("," if n else "") + "{" + " " * 100_000 + record + "}")
    file.write("]}")
before = peak()
assert len(coco.read(path).dataset.annotations) == 400
print(peak() - before, path.stat().st_size / 1e6)
path.unlink()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    grown, size = map(float, done.stdout.split())
    assert size > 40
    assert grown < 1.3 * size
