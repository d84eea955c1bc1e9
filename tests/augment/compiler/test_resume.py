"""A build that is stopped in any way goes on when it is given again, and ends with the bytes of one that was not."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from augment import recipe
from augment.executors.local import executor
from benchmarks.torture import forked
from benchmarks.torture.kills import Forks, Moment
from datasets.errors import DataError
from datasets.sources import Input
from tests.augment.beyond import BEYOND
from tests.protocols import Draw, Make

ROOT = Path(__file__).resolve().parents[3]
# Enough for builds to be met at work.
REPEATS = 20

Tree = Callable[[Path], dict[str, bytes]]


@pytest.fixture(scope="module")
def many(drawn: Input, tmp_path_factory: pytest.TempPathFactory) -> Input:
    """The drawn dataset REPEATS times over, under other ids."""
    document = json.loads(drawn.annotations.read_bytes())
    repeated = {
        **document,
        "images": [{**item, "id": item["id"] + 1000 * n} for n in range(REPEATS) for item in document["images"]],
        "annotations": [
            {**item, "id": item["id"] + 100_000 * n, "image_id": item["image_id"] + 1000 * n}
            for n in range(REPEATS)
            for item in document["annotations"]
        ],
    }
    path = tmp_path_factory.mktemp("many") / "annotations.json"
    path.write_text(json.dumps(repeated))
    return Input(path, drawn.images)


@pytest.fixture(scope="module")
def sums(many: Input, make: Make, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """SHA256SUMS of a build of `many` that nothing stopped."""
    out = tmp_path_factory.mktemp("whole") / "out"
    make(many, out)
    return (out / "SHA256SUMS").read_bytes()


def command(source: Input, output: Path, *more: str) -> list[str]:
    inputs = ["--annotations", str(source.annotations), "--images", str(source.images)]
    return [sys.executable, "-W", "ignore", "-m", "augment", "build", *inputs, "--output", str(output), *more]


def heed_ctrl_c() -> None:
    """For a process to be started: tests that run in the background ignore it, and so would all that they start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def start(source: Input, output: Path, *more: str, **options: Any) -> subprocess.Popen[str]:
    """A build in processes of its own, in a group of their own as if a shell had started it."""
    return subprocess.Popen(
        command(source, output, *more),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **{"preexec_fn": heed_ctrl_c, **options},
    )


def finished(output: Path) -> int:
    """Sources in the journal of a build that is at work."""
    try:
        return (output.parent / f"{output.name}.partial" / "journal").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def wait_until_finished(output: Path, sources: int) -> None:
    deadline = time.monotonic() + 300
    while finished(output) < sources:
        assert time.monotonic() < deadline, "the build does not get on"
        time.sleep(0.002)


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.stopped
def test_a_build_that_is_killed_at_any_of_20_moments_goes_on_to_the_same_bytes(draw: Draw, tmp_path: Path) -> None:
    """Moments are evenly spread over all the steps that change a file or a folder, from the first to the last."""
    source = draw(tmp_path / "data", only=(7, 12, 20))
    inputs = ("--annotations", str(source.annotations), "--images", str(source.images), "--workers", "1")
    builds = tmp_path / "builds"
    builds.mkdir()
    start = Forks(lambda folder: ("augment", "build", *inputs, "--output", str(folder / "out")), "out.partial")
    forked.preload()
    assert start(builds, None).outcome.code == 0
    whole = (builds / "out" / "SHA256SUMS").read_bytes()
    kept = set()
    for moment in range(20):
        share = min(moment / 19, 0.9999)
        shutil.rmtree(builds / "out")

        assert start(builds, Moment(share, "group", by_step=True)).killed, f"at {share}"

        # A complete folder, or none.
        sums = builds / "out" / "SHA256SUMS"
        assert not sums.parent.exists() or sums.read_bytes() == whole, f"killed at {share}"
        again = start(builds, None).outcome
        assert (again.code, sums.read_bytes()) == (0, whole), f"killed at {share}"
        assert [path.name for path in builds.iterdir()] == ["out"], f"killed at {share}"
        found = re.search(r"(\d+) source images had been rendered", again.out)
        kept.add(int(found[1]) if found else 0)
    # Killed late enough, a build has something to keep.
    assert kept >= {0, 1, 2, 3}


@pytest.mark.stopped
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_build_of_several_processes_that_is_killed_goes_on(
    many: Input, sums: bytes, make: Make, tmp_path: Path, share: float
) -> None:
    out = tmp_path / "out"
    process = start(many, out, "--workers", "2")
    wait_until_finished(out, int(share * 8 * REPEATS))
    process.kill()
    assert ended(process)[0] == -signal.SIGKILL
    # Workers may live for a moment, and must not harm the next build.
    assert make(many, out).kept >= share * 8 * REPEATS
    assert (out / "SHA256SUMS").read_bytes() == sums
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def workers_of(pid: int) -> list[int]:
    """The processes that work for a build: the children of its fork server that are busy with images."""
    children: list[int] = []
    for path in Path("/proc").glob(f"{pid}/task/*/children"):
        for child in map(int, path.read_text().split()):
            children += [child, *workers_of(child)]
    return children


@pytest.mark.stopped
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no /proc to see processes in")
def test_a_worker_that_is_killed_is_an_error_and_the_build_goes_on(many: Input, sums: bytes, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(many, out, "--workers", "2")
    wait_until_finished(out, 10)
    # The one that was started last.
    os.kill(max(workers_of(process.pid)), signal.SIGKILL)
    code, _, err = ended(process)
    assert code == 1
    assert "a worker process died" in err
    assert "source images are rendered and kept in" in err
    assert "give the same command again to resume" in err
    assert "Traceback" not in err
    code, text, err = ended(start(many, out, "--workers", "2"))
    assert (code, err) == (0, "")
    assert "source images had been rendered before and are kept" in text
    assert (out / "SHA256SUMS").read_bytes() == sums


@pytest.mark.stopped
def test_ctrl_c_says_how_to_go_on(many: Input, sums: bytes, make: Make, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(many, out, "--workers", "2")
    wait_until_finished(out, 10)
    os.killpg(process.pid, signal.SIGINT)
    code, text, err = ended(process)
    assert (code, text) == (130, "")
    kept = finished(out)
    assert err.strip() == (
        f"interrupted; {kept} source images are rendered and kept in {out}.partial; "
        "give the same command again to resume"
    )
    assert make(many, out).kept == kept >= 10
    assert (out / "SHA256SUMS").read_bytes() == sums


def test_serial_and_processes_go_on_with_each_other_s_builds(
    many: Input, sums: bytes, make: Make, tmp_path: Path
) -> None:
    def stop(what: str, done: int, of: int) -> None:
        if what == "rendering" and done == of // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(many, tmp_path / "out", progress=stop)
    with executor("process", 2) as run:
        assert make(many, tmp_path / "out", run=run, link=True).kept == 4 * REPEATS
    assert (tmp_path / "out" / "SHA256SUMS").read_bytes() == sums


@pytest.fixture
def stopped(draw: Draw, make: Make, tmp_path: Path) -> Input:
    """A dataset of three images, with a build of it at `out` that was stopped after two."""
    source = draw(tmp_path / "data", only=(7, 12, 20))

    def stop(what: str, done: int, _: int) -> None:
        if what == "rendering" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match="2 source images are rendered"):
        make(source, tmp_path / "out", progress=stop)
    return source


def test_what_is_finished_is_checked_and_made_again_where_it_is_damaged(
    stopped: Input, make: Make, tree: Tree, tmp_path: Path
) -> None:
    pictures = sorted((tmp_path / "out.partial" / "dataset" / "images").iterdir())
    # As after a power cut: a file of the right name, without what was in it.
    pictures[1].write_bytes(b"")
    stamp = pictures[7].stat().st_mtime_ns
    assert make(stopped, tmp_path / "out").kept == 1
    make(stopped, tmp_path / "clean")
    assert tree(tmp_path / "out") == tree(tmp_path / "clean")
    assert (tmp_path / "out" / "images" / pictures[7].name).stat().st_mtime_ns == stamp


@pytest.mark.parametrize("left", [0, 1, 40, -1, -70])
def test_a_journal_that_is_cut_off_counts_as_far_as_it_goes(
    stopped: Input, make: Make, tree: Tree, tmp_path: Path, left: int
) -> None:
    journal = tmp_path / "out.partial" / "journal"
    first, second = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(first + (second[:left] or b"\0" * 512))
    assert make(stopped, tmp_path / "out").kept == 1
    make(stopped, tmp_path / "clean")
    assert tree(tmp_path / "out") == tree(tmp_path / "clean")


def test_another_recipe_seed_or_input_is_refused_and_restart_begins_anew(
    stopped: Input, make: Make, tree: Tree, tmp_path: Path
) -> None:
    before = tree(tmp_path / "out.partial")
    seeded = msgspec.structs.replace(recipe.load("expanded"), seed=1)
    for chosen, limit, named in (
        (seeded, None, "recipe.seed: expected 1, found 0"),
        ("balanced", None, "recipe.name: expected 'balanced', found 'expanded'"),
        ("expanded", 1, "limit: expected 1, found None"),
    ):
        with pytest.raises(DataError, match="holds an unfinished build of something else; --restart") as caught:
            make(stopped, tmp_path / "out", chosen, limit=limit)
        assert named in caught.value.problems
    text = stopped.annotations.read_text()
    stopped.annotations.write_text(text + " ")
    with pytest.raises(DataError, match="something else") as caught:
        make(stopped, tmp_path / "out")
    assert "inputs[0].annotations_sha256: " in str(caught.value)
    assert tree(tmp_path / "out.partial") == before
    stopped.annotations.write_text(text)
    assert make(stopped, tmp_path / "out", seeded, restart=True).kept == 0
    make(stopped, tmp_path / "clean", seeded)
    assert tree(tmp_path / "out") == tree(tmp_path / "clean")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clean", "data", "out"]


def test_another_version_is_refused(stopped: Input, make: Make, tmp_path: Path) -> None:
    path = tmp_path / "out.partial" / "build.json"
    document = json.loads(path.read_bytes())
    document["versions"]["numpy"] = "1.0"
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match=r"versions\.numpy: expected '.*', found '1\.0'"):
        make(stopped, tmp_path / "out")


def test_a_build_that_an_earlier_format_began_is_refused_and_restart_begins_anew(
    stopped: Input, make: Make, tree: Tree, tmp_path: Path
) -> None:
    path = tmp_path / "out.partial" / "build.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "format": 1}))
    before = tree(tmp_path / "out.partial")
    with pytest.raises(DataError, match=r"another version began \(format 1, expected 2\); --restart starts over"):
        make(stopped, tmp_path / "out")
    assert tree(tmp_path / "out.partial") == before
    assert make(stopped, tmp_path / "out", restart=True).kept == 0
    make(stopped, tmp_path / "clean")
    assert tree(tmp_path / "out") == tree(tmp_path / "clean")


def test_all_images_that_changed_since_they_were_compiled_are_named(
    stopped: Input, make: Make, tree: Tree, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in stopped.images.iterdir()}
    for path, data in before.items():
        path.write_bytes(data + b"\0")
    with pytest.raises(DataError, match=r"2 source image\(s\) of this unfinished build are not what") as caught:
        make(stopped, tmp_path / "out")
    assert [problem.partition(": ")[0] for problem in caught.value.problems] == [
        str(stopped.images / name) for name in ("tall.jpg", "grey.jpg")
    ]
    assert caught.value.advice == (
        f"2 source images are rendered and kept in {tmp_path / 'out.partial'}; put these files back and give the same "
        "command again, or start over with them as they are: --restart"
    )
    for path, data in before.items():
        path.write_bytes(data)
    # One that was not compiled yet may be another by now.
    path = stopped.images / "upright.jpg"
    path.write_bytes(before[path] + b"\0")
    assert make(stopped, tmp_path / "out").kept == 2
    make(stopped, tmp_path / "clean")
    assert tree(tmp_path / "out") == tree(tmp_path / "clean")


def test_a_build_with_donors_goes_on_to_the_same_bytes(draw: Draw, make: Make, tree: Tree, tmp_path: Path) -> None:
    source = draw(tmp_path / "data")
    make(source, tmp_path / "clean", BEYOND)
    for sources in range(1, 8):

        def stop(what: str, done: int, _: int, at: int = sources) -> None:
            if what == "rendering" and done == at:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            make(source, tmp_path / "out", BEYOND, progress=stop)
        assert make(source, tmp_path / "out", BEYOND).kept == sources
        assert tree(tmp_path / "out") == tree(tmp_path / "clean")
        shutil.rmtree(tmp_path / "out")


def test_a_donor_that_changed_between_two_parts_of_a_build_is_named(draw: Draw, make: Make, tmp_path: Path) -> None:
    """It is not compiled yet itself, so nothing but the donors' digest can tell that images were taken from another."""
    source = draw(tmp_path / "data")
    last = source.images / json.loads(source.annotations.read_bytes())["images"][-1]["file_name"]

    def stop(what: str, done: int, _: int) -> None:
        if what == "rendering" and done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(source, tmp_path / "out", BEYOND, progress=stop)
    original = last.read_bytes()
    last.write_bytes(original + b"\0")
    with pytest.raises(DataError, match="build are not what they were") as caught:
        make(source, tmp_path / "out", BEYOND)
    assert caught.value.problems == [f"{last}: changed since images took from it"]
    assert "put these files back" in caught.value.advice
    assert not (tmp_path / "out").exists()
    # Nothing was rendered of it, so what the advice says works, both ways.
    last.write_bytes(original)
    assert make(source, tmp_path / "out", BEYOND).kept == 7
    shutil.rmtree(tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        make(source, tmp_path / "out", BEYOND, progress=stop)
    last.write_bytes(original + b"\0")
    assert make(source, tmp_path / "out", BEYOND, restart=True).kept == 0


def test_a_machine_that_computes_otherwise_is_noticed(stopped: Input, make: Make, tmp_path: Path) -> None:
    """The versions are the same, but what is made anew has other bytes than the journal says."""
    journal = tmp_path / "out.partial" / "journal"
    first, second = journal.read_text().splitlines(keepends=True)
    words = second.split()
    words[3] = "0" * 64
    journal.write_text(f"{first}{' '.join(words)}\n")
    with pytest.raises(DataError, match=r"(?s)grey\.jpg, rendered again, have other bytes .*--restart") as caught:
        make(stopped, tmp_path / "out")
    assert "give the same command again" not in str(caught.value)
    make(stopped, tmp_path / "out", restart=True)


def limit_files(size: int) -> Callable[[], None]:
    """For a process to be started: files of more bytes cannot be written, as on a full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.stopped
@pytest.mark.parametrize(("only", "size", "place"), [((3,), 4_000, "/images/000000001_wide"), (None, 60_000, "")])
def test_a_write_that_fails_names_the_place_and_the_build_goes_on(
    draw: Draw, many: Input, make: Make, tree: Tree, tmp_path: Path, only: tuple[int] | None, size: int, place: str
) -> None:
    """First in a worker, which writes an image; then in the parent, which writes the annotation file."""
    source = draw(tmp_path / "data", only=only) if only else many
    out = tmp_path / "out"
    code, _, err = ended(start(source, out, "--workers", "2", preexec_fn=limit_files(size)))
    assert code == 1
    assert err.startswith(f"error: {out}.partial/dataset{place}")
    assert "cannot be written: File too large" in err
    assert "Traceback" not in err
    assert not out.exists()
    assert ended(start(source, out, "--workers", "2"))[0] == 0
    make(source, tmp_path / "clean")
    assert tree(out) == tree(tmp_path / "clean")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB; skips where this user cannot have one.

    A build of `many` needs 6.3 MB in pages of 4 kB, and 1.9 of them for the 48 sources that two workers may be ahead of
    the journal: it is stopped on its way, with some sources in the journal, however slow the parent is.
    """
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4000k", "tmpfs", str(folder)], capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("no right to mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


@pytest.mark.stopped
def test_a_full_disk_and_a_read_only_one_end_the_build_and_it_goes_on(
    many: Input, sums: bytes, small_disk: Path
) -> None:
    out = small_disk / "out"
    code, _, err = ended(start(many, out, "--workers", "2"))
    assert code == 1
    assert err.startswith(f"error: {out}.partial/")
    assert "No space left on device" in err
    kept = finished(out)
    assert f"{kept} source images are rendered and kept" in err
    remount(small_disk, "size=50m,ro")
    code, _, err = ended(start(many, out, "--workers", "2"))
    assert (code, "Read-only file system" in err, "Traceback" in err) == (1, True, False)
    remount(small_disk, "rw")
    code, text, _ = ended(start(many, out, "--workers", "2"))
    assert code == 0
    assert f"{out}: {kept} source images had been rendered before and are kept" in text
    assert (out / "SHA256SUMS").read_bytes() == sums


def test_a_folder_that_vanishes_is_an_error(many: Input, sums: bytes, make: Make, tmp_path: Path) -> None:
    def vanish(what: str, done: int, _: int) -> None:
        if what == "rendering" and done == 3:
            (tmp_path / "out.partial").rename(tmp_path / "away")

    with pytest.raises(DataError, match=r"out\.partial/dataset/images/.*: cannot be written: No such file"):
        make(many, tmp_path / "out", progress=vanish)
    (tmp_path / "away").rename(tmp_path / "out.partial")
    assert make(many, tmp_path / "out").kept == 3
    assert (tmp_path / "out" / "SHA256SUMS").read_bytes() == sums


def test_images_that_vanish_while_the_build_runs_are_noticed(many: Input, make: Make, tmp_path: Path) -> None:
    def take(what: str, done: int, of: int) -> None:
        if what == "rendering" and done == of:
            next((tmp_path / "out.partial" / "dataset" / "images").iterdir()).unlink()

    with pytest.raises(DataError, match="expected 960 files, found 959"):
        make(many, tmp_path / "out", progress=take)
    assert not (tmp_path / "out").exists()
    assert make(many, tmp_path / "out").kept == 8 * REPEATS - 1
