"""scripts/install_detectron2.py with a made-up source archive of some hundred bytes and an index on 127.0.0.1.

Whatever a run installs goes to PIP_TARGET, never into the Python that runs the tests.
"""

from __future__ import annotations

import base64
import configparser
import csv
import email
import hashlib
import importlib.util
import io
import os
import random
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from packaging.metadata import Metadata
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from datasets.errors import DataError

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "install_detectron2.py"
CLOSED = "http://127.0.0.1:9/simple"  # the discard port: nothing listens there


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("install_detectron2", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = load()

TOP = "pb1-detectron2-0.6"
CODE = {
    "detectron2/__init__.py": b'__version__ = "0.6"\n',
    "detectron2/data/deep/down/__init__.py": b"",
    "detectron2/layers/__init__.py": b"from detectron2 import _C\n",
    "detectron2/layers/nms.py": "name = 'größe'\n".encode() * 999,
}
LICENSE = b"Apache License, as it were\n"
OTHERS = {
    f"{TOP}/{name}": b"raise SystemExit('this must not be installed')\n"
    for name in (
        "README.md",
        "bare.py",
        "detectron2/LICENSE",
        "detectron2/_C.cpython-311-x86_64-linux-gnu.so",
        "detectron2/_C.py",  # the stub stands there instead
        "detectron2/layers/csrc/nms.cu",
        "detectron2/layers/csrc/vision.cpp",
        "detectron2/layers/nms.pyi",
        "detectron2_more/__init__.py",
        "docs/LICENSE",
        "projects/detectron2/evil.py",
        "setup.py",
        "tests/test_it.py",
    )
}
ASTRAY = [
    "/LICENSE",
    "/detectron2/evil.py",
    f"/{TOP}/detectron2/evil.py",
    "../LICENSE",
    "../detectron2/evil.py",
    f"{TOP}/../detectron2/evil.py",
    f"{TOP}/../../evil.py",
    f"{TOP}/detectron2/../../evil.py",
    f"{TOP}/detectron2/../evil.py",
    "detectron2/evil.py",
]
LINKS = [
    (f"{TOP}/detectron2/symbolic.py", tarfile.SYMTYPE, "/etc/hostname"),
    (f"{TOP}/detectron2/hard.py", tarfile.LNKTYPE, f"{TOP}/setup.py"),
    (f"{TOP}/detectron2/climbing.py", tarfile.SYMTYPE, "../../../secret.py"),
    (f"{TOP}/detectron2/pipe.py", tarfile.FIFOTYPE, ""),
    (f"{TOP}/detectron2/folder.py", tarfile.DIRTYPE, ""),
]


def packed(files: dict[str, bytes], links: list[tuple[str, bytes, str]], seed: int = 0) -> bytes:
    """A .tar.gz with its members in an order and with times that depend on `seed`."""
    members = [(name, tarfile.REGTYPE, "", content) for name, content in files.items()]
    members += [(name, kind, target, b"") for name, kind, target in links]
    chance = random.Random(seed)
    chance.shuffle(members)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, kind, target, content in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, target, len(content)
            info.mtime, info.mode = chance.randrange(10**9), chance.choice([0o600, 0o644, 0o755])
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def source(seed: int = 0) -> bytes:
    files = {**{f"{TOP}/{name}": content for name, content in CODE.items()}, f"{TOP}/LICENSE": LICENSE}
    astray = dict.fromkeys(ASTRAY, b"raise SystemExit('this came from astray')\n")
    return packed({**files, **OTHERS, **astray}, LINKS, seed)


ARCHIVE = source()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def build(folder: Path, archive: bytes = ARCHIVE) -> Path:
    path = folder / str(script.WHEEL)
    script.write_wheel(path, script.python_files(archive))
    return path


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
        assert len(set(names)) == len(names)
        return {name: file.read(name) for name in names}


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return build(tmp_path)


# The wheel


def test_only_the_python_files_and_the_licence_go_in(wheel: Path) -> None:
    found = contents(wheel)
    info = [f"{script.DIST_INFO}/{name}" for name in ("LICENSE", "METADATA", "RECORD", "WHEEL")]
    assert sorted(found) == sorted([*CODE, "detectron2/_C.py", *info])
    assert {name: found[name] for name in CODE} == CODE
    assert found[f"{script.DIST_INFO}/LICENSE"] == LICENSE
    assert found["detectron2/_C.py"] == script.STUB.encode()


@pytest.mark.parametrize("name", ASTRAY)
def test_member_that_leaves_the_archive_is_left_out(name: str) -> None:
    assert [path for path, _ in script.python_files(packed({name: b"evil"}, []))] == ["detectron2/_C.py"]


def test_stub_answers_what_is_asked_when_reporting_and_names_the_remedy_for_operators() -> None:
    stub: Any = ModuleType("detectron2._C")
    exec(script.STUB, stub.__dict__)
    assert stub.has_cuda() is False
    assert stub.get_compiler_version() == stub.get_cuda_version() == "none (pure Python)"
    for name in ("roi_align_rotated_forward", "deform_conv_forward", "COCOevalAccumulate"):
        with pytest.raises(AttributeError, match=f"no C\\+\\+ operator '{name}'; it needs an official build"):
            getattr(stub, name)
    assert not hasattr(stub, "nms_rotated")


def test_record_has_the_hash_and_size_of_every_file(wheel: Path) -> None:
    found = contents(wheel)
    own = f"{script.DIST_INFO}/RECORD"
    rows = list(csv.reader(found[own].decode().splitlines()))
    assert sorted(name for name, _, _ in rows) == sorted(found)
    for name, digest, size in rows:
        if name == own:
            assert (digest, size) == ("", "")
            continue
        assert digest.startswith("sha256=")
        assert not digest.endswith("=")  # PEP 427: unpadded
        encoded = digest.removeprefix("sha256=")
        assert base64.urlsafe_b64decode(f"{encoded}=") == hashlib.sha256(found[name]).digest()
        assert int(size) == len(found[name])


def test_wheel_is_the_same_bytes_on_every_run(tmp_path: Path) -> None:
    for folder in ("first", "other order and times"):
        (tmp_path / folder).mkdir()
    first = build(tmp_path / "first").read_bytes()
    assert source(1) != ARCHIVE
    assert build(tmp_path / "other order and times", source(1)).read_bytes() == first
    archive = tmp_path / "source.tar.gz"
    archive.write_bytes(ARCHIVE)
    more = {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    done = run(tmp_path, "--archive", archive, "--wheel-dir", tmp_path / "a/b", sha=sha256(ARCHIVE), env=more)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "a/b" / script.WHEEL).read_bytes() == first


def test_metadata_is_valid_and_agrees_with_the_name_of_the_file(wheel: Path) -> None:
    found = contents(wheel)
    parsed = Metadata.from_email(found[f"{script.DIST_INFO}/METADATA"], validate=True)
    name, version, _, tags = parse_wheel_filename(wheel.name)
    assert (canonicalize_name(parsed.name), parsed.version) == (name, version)
    assert wheel.name == f"{script.DIST_INFO.removesuffix('.dist-info')}-py3-none-any.whl"
    assert [str(item) for item in parsed.requires_dist or []] == [str(Requirement(item)) for item in script.REQUIRES]
    assert parsed.requires_python
    assert all(parsed.requires_python.contains(python) for python in ("3.10.0", "3.11.7", "3.12.9"))
    about = email.message_from_bytes(found[f"{script.DIST_INFO}/WHEEL"])
    assert (about["Wheel-Version"], about["Root-Is-Purelib"]) == ("1.0", "true")
    assert about.get_all("Tag") == [str(tag) for tag in tags]


def needed() -> dict[str, Requirement]:
    return {canonicalize_name(item.name): item for item in map(Requirement, script.REQUIRES)}


def test_setup_cfg_installs_whatever_the_wheel_needs() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = f"{config['options']['install_requires']}\n{config['options.extras_require']['train']}".splitlines()
    given = {canonicalize_name(Requirement(line).name) for line in lines if line}
    assert set(needed()) - given == set()
    assert "unearth" in given  # which downloads the archive


def test_constraints_pin_versions_that_the_wheel_takes() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    pinned = {str(canonicalize_name(name)): version for name, version in pins.items()}
    assert set(needed()) - set(pinned) == set()
    assert [str(item) for name, item in needed().items() if pinned[name] not in item.specifier] == []


# Runs of the script

DRIVER = """
import importlib.util, sys
from datasets import cli
spec = importlib.util.spec_from_file_location("install_detectron2", sys.argv.pop(1))
script = importlib.util.module_from_spec(spec)
spec.loader.exec_module(script)
sha256 = sys.argv.pop(1)
script.SHA256 = script.SHA256 if sha256 == "as it is" else sha256
script.installed = lambda: None  # the Python that runs the tests may have one
cli.run(script.main, "install_detectron2.py")
"""


def target(folder: Path) -> Path:
    """Where a run installs."""
    return folder / "site"


def environment(folder: Path, more: dict[str, str]) -> dict[str, str]:
    """No settings of pip's but ours, and a temporary folder of our own."""
    temporary = folder / "temporary"
    temporary.mkdir(exist_ok=True)
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("PIP_")},
        "NO_PROXY": "127.0.0.1",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": CLOSED,
        "PIP_TARGET": str(target(folder)),
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(temporary),
        "no_proxy": "127.0.0.1",
        **more,
    }


def run(
    folder: Path, *words: str | Path, sha: str | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The script as it is; with `sha`, one that expects this SHA-256 and sees no Detectron2 installed."""
    start = [str(SCRIPT)] if sha is None else ["-c", DRIVER, str(SCRIPT), sha]
    done = subprocess.run(
        [sys.executable, *start, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env=environment(folder, env or {}),
        timeout=30,
    )
    assert not list((folder / "temporary").iterdir())
    assert "Traceback" not in done.stdout + done.stderr
    return done


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "source.tar.gz"
    path.write_bytes(ARCHIVE)
    return path


def test_pip_installs_it_with_no_compiler_and_it_imports_without_torch(tmp_path: Path, archive: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("cc", "c++", "gcc", "g++", "clang", "nvcc", "ninja", "cmake"):
        (tools / name).write_text(f"#!/bin/sh\necho {name} >> '{tmp_path}/called'\nexit 1\n", encoding="utf-8")
        (tools / name).chmod(0o755)
    no_compiler = {"CC": "false", "CXX": "false", "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    done = run(tmp_path, "--archive", archive, sha=sha256(ARCHIVE), env=no_compiler)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "detectron2 0.6+pure: installed as pure Python, no compiler used\n"
    assert not (tmp_path / "called").exists()

    site = target(tmp_path)
    assert sorted(path.name for path in site.iterdir()) == ["detectron2", script.DIST_INFO]
    [found] = metadata.distributions(path=[str(site)])
    assert (found.metadata["Name"], found.version) == ("detectron2", script.VERSION)
    code = (
        f"import sys\nsys.path.insert(0, {str(site)!r})\nsys.modules['torch'] = None\n"
        "import detectron2._C, detectron2.layers, detectron2.data.deep.down\n"
        "print(detectron2._C.__file__, detectron2._C.get_compiler_version(), detectron2.layers._C.has_cuda())\n"
        "detectron2._C.nms_rotated\n"
    )
    # -S: without the site-packages of the Python that runs the tests.
    tried = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert tried.stdout == f"{site / 'detectron2' / '_C.py'} none (pure Python) False\n", tried.stderr
    said = "this Detectron2 is pure Python and has no C++ operator 'nms_rotated'; it needs an official build"
    assert tried.stderr.splitlines()[-1] == f"AttributeError: {said}"


def test_what_wheel_dir_leaves_can_be_installed_by_the_command_that_it_says(tmp_path: Path, archive: Path) -> None:
    done = run(tmp_path, "--archive", archive, "--wheel-dir", "carried", sha=sha256(ARCHIVE))
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        f"wrote carried/{script.WHEEL}; install it with: pip install --no-deps carried/{script.WHEEL}\n"
    )
    assert [path.name for path in (tmp_path / "carried").iterdir()] == [script.WHEEL]
    assert not target(tmp_path).exists()
    words = done.stdout.split("pip ")[1].split()
    command = [sys.executable, "-m", "pip", *words]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path, env=environment(tmp_path, {}))
    assert (target(tmp_path) / "detectron2" / "_C.py").exists()


@pytest.mark.parametrize("words", [[], ["--wheel-dir", "out"]])
def test_archive_with_another_hash_is_refused(tmp_path: Path, archive: Path, words: list[str]) -> None:
    done = run(tmp_path, "--archive", archive, *words, sha="as it is")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: {archive}: expected SHA-256 {script.SHA256}, found {sha256(ARCHIVE)}; nothing was installed\n"
    )
    assert not target(tmp_path).exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "said"), [("none.tar.gz", "No such file or directory"), ("temporary", "Is a directory")]
)
def test_archive_that_cannot_be_read_is_a_line(tmp_path: Path, name: str, said: str) -> None:
    done = run(tmp_path, "--archive", tmp_path / name, "--wheel-dir", "out")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"error: {said} ({tmp_path / name})\n"
    assert not (tmp_path / "out").exists()


def test_pip_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(tmp_path, {}).items():
        monkeypatch.setenv(name, value)
    wheel = tmp_path / script.WHEEL
    wheel.write_bytes(b"no zip file")
    with pytest.raises(DataError, match="could not install") as caught:
        script.install(wheel)
    headline, *words = str(caught.value).splitlines()
    assert headline == f"pip could not install {script.WHEEL}:"
    assert any(word.startswith("ERROR: ") for word in words)
    assert not target(tmp_path).exists()


def test_help_has_an_example(tmp_path: Path) -> None:
    # From elsewhere and isolated from PYTHONPATH: the script finds the project by itself.
    done = subprocess.run(
        [sys.executable, "-I", str(SCRIPT), "--help"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "python scripts/install_detectron2.py --wheel-dir /media/stick" in done.stdout


# The package index


class Answer(NamedTuple):
    body: bytes
    cut: int | None = None  # close the connection after so many bytes of the body


class Server(ThreadingHTTPServer):
    """Serves `files`, 404 for everything else; `seen` has the path of every request."""

    daemon_threads = False  # so that closing the server waits for its threads and their sockets

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, Answer] = {}
        self.seen: list[str] = []

    @property
    def env(self) -> dict[str, str]:
        return {"PIP_INDEX_URL": f"http://127.0.0.1:{self.server_address[1]}/simple"}

    def page(self, *names: str) -> None:
        links = "".join(f'<a href="../../files/{name}">{name}</a><br>\n' for name in names)
        self.files["/simple/pb1-detectron2/"] = Answer(f"<!DOCTYPE html><html><body>{links}</body></html>".encode())


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is http.server's
        pass

    def do_GET(self) -> None:
        self.server.seen.append(self.path)
        answer = self.server.files.get(self.path)
        body = answer.body if answer else b"not found"
        self.send_response(200 if answer else 404)
        self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: answer.cut if answer else None])


@pytest.fixture
def server() -> Iterator[Server]:
    pytest.importorskip("unearth", reason="it comes with setup.cfg's extra `train`")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def refused(done: subprocess.CompletedProcess[str], folder: Path) -> str:
    """The reason that a failed download gives, in one line above both remedies."""
    assert (done.returncode, done.stdout) == (1, "")
    reason, *rest = done.stderr.splitlines()
    assert "\n".join(rest) == script.REMEDIES
    assert "--wheel-dir DIR" in script.REMEDIES
    assert "install an official build" in script.REMEDIES
    assert not target(folder).exists()
    assert not (folder / "out").exists()
    start = "error: pb1-detectron2==0.6 cannot be downloaded: "
    assert reason.startswith(start)
    return reason.removeprefix(start)


@pytest.mark.parametrize("words", [[], ["--wheel-dir", "out"]])
def test_no_network_is_one_error_with_both_remedies(tmp_path: Path, words: list[str]) -> None:
    pytest.importorskip("unearth", reason="it comes with setup.cfg's extra `train`")
    assert "refused" in refused(run(tmp_path, *words, sha="as it is" if not words else None), tmp_path)


NAME = f"{TOP}.tar.gz"


@pytest.mark.parametrize(
    "names", [None, [], ["pb1-detectron2-0.5.tar.gz"], ["pb1_detectron2-0.6-py3-none-any.whl"], ["other-0.6.tar.gz"]]
)
def test_index_without_the_archive_is_one_error_with_both_remedies(
    server: Server, tmp_path: Path, names: list[str] | None
) -> None:
    if names is not None:
        server.page(*names)
        server.files |= {f"/files/{name}": Answer(ARCHIVE) for name in names}
    done = run(tmp_path, "--wheel-dir", "out", env=server.env)
    assert refused(done, tmp_path) == "No matches are found."
    assert server.seen == ["/simple/pb1-detectron2/"]


def test_archive_of_another_kind_is_not_taken(server: Server, tmp_path: Path) -> None:
    server.page(f"{TOP}.zip")
    server.files[f"/files/{TOP}.zip"] = Answer(b"PK")
    done = run(tmp_path, "--wheel-dir", "out", env=server.env)
    assert refused(done, tmp_path) == "not found"


def test_wrong_archive_under_the_right_name_is_refused(server: Server, tmp_path: Path) -> None:
    server.page(NAME)
    server.files[f"/files/{NAME}"] = Answer(ARCHIVE)
    for words, sha in ([], "as it is"), (["--wheel-dir", "out"], None):
        done = run(tmp_path, *words, sha=sha, env=server.env)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"{NAME}: expected SHA-256 {script.SHA256}, found {sha256(ARCHIVE)}; nothing" in done.stderr
        assert not target(tmp_path).exists()
        assert not (tmp_path / "out").exists()


def test_download_that_breaks_off_is_refused(server: Server, tmp_path: Path) -> None:
    server.page(NAME)
    server.files[f"/files/{NAME}"] = Answer(ARCHIVE, cut=len(ARCHIVE) // 2)
    done = run(tmp_path, "--wheel-dir", "out", sha=sha256(ARCHIVE), env=server.env)
    assert f"/files/{NAME}" in server.seen
    assert refused(done, tmp_path)


def test_right_archive_of_an_index_becomes_the_wheel(server: Server, tmp_path: Path, wheel: Path) -> None:
    # Its wheel, its later release and its earlier one are not what is wanted.
    server.page("pb1-detectron2-0.5.tar.gz", NAME, "pb1_detectron2-0.6-py3-none-any.whl", "pb1-detectron2-0.7.tar.gz")
    server.files[f"/files/{NAME}"] = Answer(ARCHIVE)
    done = run(tmp_path, "--wheel-dir", "out", sha=sha256(ARCHIVE), env=server.env)
    assert (done.returncode, done.stderr) == (0, "")
    assert server.seen == ["/simple/pb1-detectron2/", f"/files/{NAME}"]
    assert (tmp_path / "out" / script.WHEEL).read_bytes() == wheel.read_bytes()


@pytest.mark.parametrize(("url", "given"), [(None, []), ("", []), (CLOSED, ["--index-url", CLOSED])])
def test_index_is_pips_where_it_names_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str | None, given: list[str]
) -> None:
    """For pip, an empty PIP_INDEX_URL is none."""
    asked: list[str] = []

    def fake(command: list[str], **_options: object) -> subprocess.CompletedProcess[str]:
        asked.extend(command)
        (tmp_path / NAME).write_bytes(ARCHIVE)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.delenv("PIP_INDEX_URL", raising=False)
    if url is not None:
        monkeypatch.setenv("PIP_INDEX_URL", url)
    monkeypatch.setattr(subprocess, "run", fake)
    assert script.download(tmp_path) == tmp_path / NAME
    start = [sys.executable, "-m", "unearth"]
    assert asked == [*start, *given, "--no-binary", "--download", str(tmp_path), script.REQUIREMENT]


# What is installed already

COMPILED = "_C.cpython-311-x86_64-linux-gnu.so"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that this Python imports from, in place of any that has a Detectron2."""
    folder = tmp_path / "installed"
    folder.mkdir()
    others = [path for path in sys.path if not (Path(path) / "detectron2").exists()]
    monkeypatch.setattr(sys, "path", [str(folder), *others])
    for name in [name for name in sys.modules if name.partition(".")[0] == "detectron2"]:
        monkeypatch.delitem(sys.modules, name)
    return folder


def put(site: Path, version: str | None, *files: str) -> Path:
    """A Detectron2 with these files; without a version, one that no installer has recorded."""
    folder = site / "detectron2"
    folder.mkdir()
    for name in ("__init__.py", *files):
        (folder / name).write_bytes(b"")
    if version is not None:
        info = site / f"detectron2-{version}.dist-info"
        info.mkdir()
        text = f"Metadata-Version: 2.1\nName: detectron2\nVersion: {version}\n"
        (info / "METADATA").write_text(text, encoding="utf-8")
    importlib.invalidate_caches()
    return folder


@pytest.mark.parametrize(
    ("version", "said"), [("0.6", "0.6"), ("0.6+cu113", "0.6+cu113"), ("0.5", "0.5"), (None, "of unknown version")]
)
def test_official_build_is_kept(site: Path, version: str | None, said: str) -> None:
    folder = put(site, version, COMPILED)
    assert script.installed() == f"detectron2 {said}: the build that is installed already in {folder} is kept"


def test_ours_is_known_by_its_version(site: Path) -> None:
    put(site, script.VERSION, "_C.py")
    assert script.installed() == "detectron2 0.6+pure: the pure-Python build is installed already"


@pytest.mark.parametrize("version", ["0.6", None, "0.6+pure"])
def test_half_of_one_is_an_error_with_a_remedy(site: Path, version: str | None) -> None:
    folder = put(site, version, "structures.py")
    with pytest.raises(DataError) as caught:
        script.installed()
    assert str(caught.value) == (
        f"{folder}: expected Detectron2 with its compiled part _C, found none; finish that build, or "
        "`pip uninstall detectron2` and run this again"
    )


def test_none_is_none(site: Path) -> None:
    assert script.installed() is None
    (site / "detectron2").mkdir()  # what an uninstaller may leave
    importlib.invalidate_caches()
    assert script.installed() is None


@pytest.mark.parametrize(
    ("files", "code", "said"),
    [([COMPILED], 0, "detectron2 0.6: the build that is"), ([], 1, "found none; finish that build, or `pip uninstall")],
)
def test_run_beside_an_official_build_changes_nothing(
    tmp_path: Path, archive: Path, files: list[str], code: int, said: str
) -> None:
    beside = tmp_path / "official"
    beside.mkdir()
    folder = put(beside, "0.6", *files)
    paths = {"PYTHONPATH": f"{beside}{os.pathsep}{ROOT}"}
    for words in ([], ["--archive", str(archive)]):
        done = run(tmp_path, *words, env=paths)
        assert done.returncode == code
        [line] = (done.stdout + done.stderr).splitlines()
        assert said in line
        assert str(folder) in line
        assert not target(tmp_path).exists()
        assert sorted(path.name for path in folder.iterdir()) == sorted(["__init__.py", *files])
