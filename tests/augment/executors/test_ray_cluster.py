"""A build on a Ray cluster of two nodes, on loopback: the same bytes, and a lost node costs time only."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from augment.executors import ray_cluster
from augment.executors.local import executor
from datasets.errors import DataError
from datasets.sources import Input
from tests.augment.beyond import BEYOND
from tests.protocols import Make

pytest.importorskip("ray", reason="Ray is not installed: the extra [ray]")

ROOT = Path(__file__).resolve().parents[3]
REPEATS = 60


# As `python -m augment`, from a folder that has a package `datasets` of its own.
ELSEWHERE = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); import runpy; runpy.run_module('augment', run_name='__main__')"
)


class Nodes:
    """The process of two_nodes.py."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("two_nodes.py")
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        self.address = self._answer()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def kill_one(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("kill\n")
        self.process.stdin.flush()
        assert self._answer() == "kill"

    def end(self) -> None:
        self.process.communicate(timeout=60)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    started = Nodes()
    assert started.address.startswith("127.0.0.1:"), "the cluster did not start"
    yield started
    started.end()


@pytest.fixture(scope="module")
def many(drawn: Input, tmp_path_factory: pytest.TempPathFactory) -> Input:
    """The images of the drawn dataset REPEATS times over, under other ids; boxes of their own are not needed here."""
    document = json.loads(drawn.annotations.read_bytes())
    document["images"] = [{**item, "id": item["id"] + 1000 * n} for n in range(REPEATS) for item in document["images"]]
    path = tmp_path_factory.mktemp("many") / "annotations.json"
    path.write_text(json.dumps(document))
    return Input(path, drawn.images)


def heed_ctrl_c() -> None:
    """For a process to be started: tests that run in the background ignore it, and so would all that they start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def start(source: Input, output: Path, address: str, folder: Path, *more: str) -> subprocess.Popen[str]:
    """A build on the cluster, started in `folder`."""
    (folder / "datasets").mkdir(exist_ok=True)
    (folder / "datasets" / "__init__.py").write_text("raise ImportError('the wrong datasets')\n")
    options: list[str | Path] = ["--annotations", source.annotations, "--images", source.images, "--output", output]
    options += ["--executor", "ray", "--ray-address", address, *more]
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", ELSEWHERE, str(ROOT), "build", *map(str, options)],
        cwd=folder,
        env={**os.environ, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"},
        preexec_fn=heed_ctrl_c,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_until_finished(output: Path, sources: int) -> None:
    journal = output.parent / f"{output.name}.partial" / "journal"
    deadline = time.monotonic() + 300
    while not journal.exists() or journal.read_bytes().count(b"\n") < sources:
        assert time.monotonic() < deadline, "the build does not get on"
        time.sleep(0.002)


def wait_until_idle() -> None:
    """Calls that were under way end with the build that made them: Ray names processes by what they work on."""
    deadline = time.monotonic() + 120
    while any("ray::_work" in name for name in command_lines()):
        assert time.monotonic() < deadline, "calls outlive their build"
        time.sleep(0.05)


def command_lines() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_bytes().decode(errors="replace")


def test_a_cluster_writes_the_same_bytes_where_images_take_from_others(
    drawn: Input, built: Callable[[str], Path], nodes: Nodes, tmp_path: Path
) -> None:
    recipe = tmp_path / "beyond.yaml"
    recipe.write_bytes(msgspec.json.encode(BEYOND))
    process = start(drawn, tmp_path / "out", nodes.address, tmp_path, "--recipe", str(recipe))
    text, err = process.communicate(timeout=120)
    assert process.returncode == 0, text + err
    assert (tmp_path / "out" / "SHA256SUMS").read_bytes() == (built("beyond") / "SHA256SUMS").read_bytes()


@pytest.mark.stopped
def test_a_killed_build_goes_on_and_a_killed_node_costs_time_only(
    many: Input, make: Make, nodes: Nodes, tmp_path: Path
) -> None:
    """One build: stopped by Ctrl-C, given again, and half way through robbed of one of its two nodes."""
    out, folder = tmp_path / "out", tmp_path / "elsewhere"
    folder.mkdir()
    process = start(many, out, nodes.address, folder)
    wait_until_finished(out, 40)
    os.killpg(process.pid, signal.SIGINT)
    text, err = process.communicate(timeout=60)
    assert (process.returncode, text) == (130, ""), err
    assert "source images are rendered and kept in" in err
    assert "Traceback" not in err
    wait_until_idle()

    process = start(many, out, nodes.address, folder)
    wait_until_finished(out, 4 * REPEATS)
    nodes.kill_one()
    assert not out.exists(), "the node was killed too late"
    text, err = process.communicate(timeout=120)
    # Ray itself says a word about the node.
    assert (process.returncode, "Traceback" in err) == (0, False)
    assert "source images had been rendered before and are kept" in text
    make(many, tmp_path / "serial")
    assert (out / "SHA256SUMS").read_bytes() == (tmp_path / "serial" / "SHA256SUMS").read_bytes()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("ray://127.0.0.1:1", "expected HOST:PORT"),
        ("127.0.0.1", "expected HOST:PORT"),
        ("127.0.0.1:port", "expected HOST:PORT"),
        ("127.0.0.1:1", "no Ray cluster answers there: .*refused; start one with"),
        ("127.0.0.1:99999", "no Ray cluster answers there"),
    ],
)
def test_a_cluster_that_is_none_is_an_error_at_once(address: str, expected: str) -> None:
    with pytest.raises(DataError, match=expected), executor("ray", ray_address=address):
        pytest.fail("it works on a cluster that is none")


def test_only_modules_are_sent_to_the_nodes(tmp_path: Path) -> None:
    ray_cluster._copy_code(tmp_path)
    sent = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert {"augment/compiler/source_task.py", "datasets/images.py"} <= sent
    assert {Path(name).suffix for name in sent} == {".py"}


def test_another_version_on_a_node_is_an_error() -> None:
    import pickle

    task = pickle.dumps((len, ["abc"]))
    assert pickle.loads(ray_cluster._work(task, cluster_versions())) == [3]
    error = pickle.loads(ray_cluster._work(task, {**cluster_versions(), "numpy": "1.0"}))
    assert isinstance(error, DataError)
    assert error.headline.startswith("expected the versions of the machine that started the build, found others (on ")
    assert len(error.problems) == 1
    assert error.problems[0].startswith("numpy: expected '1.0', found ")


def cluster_versions() -> dict[str, str]:
    from augment.compiler import manifest

    return manifest.versions()


class LostError(Exception):
    """Stands for any error of Ray's own."""


class Ray:
    """As much of Ray as `_ordered` asks for: results that come at once, or never."""

    class exceptions:  # noqa: N801 - Ray's own name
        RayError = LostError
        RayTaskError = type("RayTaskError", (LostError,), {})

    def __init__(self, cpus: int, results: bool = True) -> None:
        self.cpus, self.results = cpus, results
        self.started = 0

    def remote(self, payload: bytes, versions: dict[str, str]) -> object:
        self.started += 1
        return ray_cluster._work(payload, versions)

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": self.cpus} if self.cpus else {}

    def wait(self, references: list[object], **_: object) -> tuple[list[object], list[object]]:
        return (references, []) if self.results else ([], references)

    def get(self, reference: object) -> object:
        if reference == "lost":
            raise LostError("the node died\nand more")
        return reference


def test_calls_under_way_are_bounded() -> None:
    ray = Ray(cpus=2)
    results = ray_cluster._ordered(ray, ray, len, iter(lambda: "ab", None))
    assert [next(results) for _ in range(20)] == [2] * 20
    # Two CPUs, and the tasks that were asked for so far.
    assert ray.started <= 2 * ray_cluster.CALLS_PER_CPU + 20 // ray_cluster.TASKS_PER_CALL


def test_a_cluster_without_cpus_is_an_error_and_no_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "NO_CPU", -1.0)
    ray = Ray(cpus=0, results=False)
    with pytest.raises(DataError, match="no CPU left"):
        list(ray_cluster._ordered(ray, ray, len, ["a"]))


def test_a_task_that_is_lost_again_and_again_is_an_error() -> None:
    with pytest.raises(DataError, match=r"lost on the Ray cluster 9 times: the node died$"):
        ray_cluster._result(Ray(1), "lost")
