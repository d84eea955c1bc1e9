"""scripts/bundle.py from end to end: made-up wheels of some hundred bytes, an index on 127.0.0.1, and run.sh."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click
import pytest

pytest.importorskip("unearth", reason="it comes with setup.cfg's extra `train`")

from datasets import __version__
from datasets.errors import DataError
from scripts import bundle as script
from scripts import install_detectron2
from scripts.bundling import contents, pip

PIP_SETTINGS = pip.pip_settings
HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"
GLIBC = "2.17"  # older than that of any machine the tests run on
SETUP = """
[options]
python_requires = >=3.10,<3.13
install_requires =
{needs}

[options.extras_require]
train =
    heavy
    unearth >=0.14
"""


def wheel(folder: Path, name: str, version: str, *requires: str, tag: str = "py3-none-any", code: str = "") -> Path:
    """A wheel with one module of its name, which has `code`."""
    folder.mkdir(parents=True, exist_ok=True)
    path, info = folder / f"{name}-{version}-{tag}.whl", f"{name}-{version}.dist-info"
    lines = "".join(f"Requires-Dist: {text}\n" for text in requires)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}.py", code or f"version = {version!r}\n")
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{lines}")
        file.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n")
        file.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path


def sdist(folder: Path, name: str, version: str) -> Path:
    """A source distribution that nothing here may open."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}.tar.gz"
    path.write_bytes(b"")
    return path


class Index(ThreadingHTTPServer):
    """The files of a folder as a simple index: /json/NAME/ tells sizes, /html/NAME/ does not; `seen` has all requests.

    `sizes` has what it says of a file where that is not the truth; `broken` files end half way.
    """

    daemon_threads = False  # so that closing the server waits for its threads and their sockets

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.sizes: dict[str, int] = {}
        self.yanked: set[str] = set()
        self.broken: set[str] = set()
        self.seen: list[str] = []

    def url(self, kind: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{kind}"


class Handler(BaseHTTPRequestHandler):
    server: Index

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is http.server's
        pass

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        body = self.answer()
        self.wfile.write(body)

    def answer(self) -> bytes:
        self.server.seen.append(f"{self.command} {self.path}")
        _, kind, name, *_ = [*self.path.split("/"), ""]
        status, media, body = 404, "text/plain", b"not found"
        length = None
        files = sorted(path for path in self.server.folder.iterdir() if path.name.startswith(f"{name}-"))
        if kind == "files" and (self.server.folder / name).is_file():
            status, media, body = 200, "application/octet-stream", (self.server.folder / name).read_bytes()
            length = len(body)
            if self.command == "HEAD":
                length = self.server.sizes.get(name, length)
            if name in self.server.broken:
                body = body[: len(body) // 2]
        elif kind == "json" and files:
            rows = [
                {
                    "filename": path.name,
                    "url": f"/files/{path.name}",
                    "size": self.server.sizes.get(path.name, path.stat().st_size),
                    "hashes": {"sha256": sha256(path.read_bytes()).hexdigest()},
                    "yanked": path.name in self.server.yanked,
                }
                for path in files
            ]
            page = {"meta": {"api-version": "1.1"}, "name": name, "files": rows}
            status, media, body = 200, "application/vnd.pypi.simple.v1+json", json.dumps(page).encode()
        elif kind == "html" and files:
            links = "".join(f'<a href="/files/{path.name}">{path.name}</a>\n' for path in files)
            status, media, body = 200, "text/html", f"<!DOCTYPE html><html><body>{links}</body></html>".encode()
        self.send_response(status)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        return body


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The folder of wheels that pip and the script find: nothing else."""
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings of pip's but ours."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    given = {"CONFIG_FILE": os.devnull, "NO_INDEX": "1", "FIND_LINKS": str(files), "NO_CACHE_DIR": "1", "RETRIES": "0"}
    for name, value in given.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(script, "ROOT", tmp_path / "checkout")
    monkeypatch.setattr(pip, "pip_settings", variables)  # pip itself takes half a second to tell; see `server`


def variables() -> dict[str, str]:
    return {name[4:].lower().replace("_", "-"): value for name, value in os.environ.items() if name.startswith("PIP_")}


@pytest.fixture
def server(files: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    monkeypatch.setattr(pip, "pip_settings", PIP_SETTINGS)
    with Index(files) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def project(tmp_path: Path, *needs: str) -> Path:
    """A checkout without git whose setup.cfg needs these."""
    root = tmp_path / "checkout"
    (root / "datasets" / "coco").mkdir(parents=True)
    (root / "train" / "__pycache__").mkdir(parents=True)
    (root / "setup.cfg").write_text(SETUP.format(needs="\n".join(f"    {need}" for need in needs)))
    (root / "Makefile").write_text("all:\n")
    (root / "datasets" / "__init__.py").write_text("where = __file__\n")
    (root / "datasets" / "coco" / "image.jpg").write_text("data")
    (root / "datasets" / "pages" / "templates").mkdir(parents=True)
    (root / "datasets" / "pages" / "templates" / "page.css").write_text("")
    (root / "train" / "__init__.py").write_text("")
    (root / "train" / "__pycache__" / "__init__.pyc").write_text("cache")
    return root


def run(tmp_path: Path, *words: str | Path, wanted: str = "dataset") -> Path:
    """A bundle for the Python that runs the tests."""
    output = tmp_path / "bundle"
    given = ["--python", HERE, "--glibc", GLIBC, "--for", wanted, "--output", str(output), *map(str, words)]
    script.main.main(given, standalone_mode=False)
    return output


def refused(tmp_path: Path, *words: str | Path, wanted: str = "dataset") -> str:
    """The error of a run that leaves nothing."""
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DataError) as caught:
        run(tmp_path, *words, wanted=wanted)
    assert sorted(tmp_path.iterdir()) == before
    return str(caught.value)


def wheels(bundle: Path) -> list[str]:
    return sorted(path.name for path in (bundle / "wheels").iterdir())


# Wheels


def test_wheels_of_what_is_needed_and_not_had(tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tag = f"cp310-abi3-manylinux_2_17_{os.uname().machine}.manylinux2014_{os.uname().machine}"
    wheel(files, "one", "1.0")
    wheel(files, "one", "2.0", "two>=1", "had>=3", 'never; sys_platform == "win32"', tag=tag)
    wheel(files, "one", "3.0rc1")
    wheel(files, "one", "4.0", tag="cp39-cp39-manylinux1_x86_64")
    wheel(files, "two", "1.5")
    sdist(files, "two", "1.6")
    project(tmp_path, "one >=1")
    bundle = run(tmp_path, "--have", "had==3.1+cu,other", "--machine", os.uname().machine)
    assert wheels(bundle) == [f"one-2.0-{tag}.whl", "two-1.5-py3-none-any.whl"]
    manifest = json.loads((bundle / "bundle.json").read_bytes())
    assert [(row["name"], row["version"], row["bytes"]) for row in manifest["wheels"]] == [
        (name, version, (bundle / "wheels" / file).stat().st_size)
        for name, version, file in (("one", "2.0", f"one-2.0-{tag}.whl"), ("two", "1.5", "two-1.5-py3-none-any.whl"))
    ]
    assert (manifest["python"], manifest["glibc"], manifest["have"]) == (HERE, GLIBC, {"had": "3.1+cu"})
    said = capsys.readouterr().out
    assert "2 wheels" in said
    assert "expected on that machine: had==3.1+cu\n" in said
    assert f"bash {bundle}/run.sh python -m augment build --help" in said


def test_index_that_tells_sizes_is_asked_once_for_the_smallest(tmp_path: Path, files: Path, server: Index,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setenv("PIP_INDEX_URL", server.url("json"))
    for version in ("4.10", "4.11", "4.13", "4.14"):
        wheel(files, "cv", version)
    server.yanked = {"cv-4.10-py3-none-any.whl"}
    names = {version: f"cv-{version}-py3-none-any.whl" for version in ("4.10", "4.11", "4.13", "4.14")}
    server.sizes = {names["4.10"]: 9, names["4.11"]: 50 * 10**6, names["4.13"]: 61 * 10**6, names["4.14"]: 62 * 10**6}
    project(tmp_path, "cv")
    assert wheels(run(tmp_path, "--smallest", "--max-mb", "50.1")) == [names["4.11"]]
    assert not [line for line in server.seen if line.startswith("HEAD")]
    shutil.rmtree(tmp_path / "bundle")
    server.seen.clear()
    said = refused(tmp_path, "--max-mb", "60")
    assert said.startswith("the bundle would have at least 62.0 MB, expected 60.0 MB at most")
    assert "62.0 MB  cv 4.14" in said
    assert server.seen == ["GET /json/cv/"]  # nothing was fetched for it


def test_sizes_come_from_the_server_where_the_index_has_none(
    tmp_path: Path, files: Path, server: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", server.url("html"))
    for version in ("1.0", "2.0"):
        wheel(files, "cv", version)
    server.sizes = {"cv-2.0-py3-none-any.whl": 9 * 10**6}  # for HEAD
    project(tmp_path, "cv")
    assert wheels(run(tmp_path, "--smallest", "--wheels-only")) == ["cv-1.0-py3-none-any.whl"]


def test_had_version_that_does_not_fit_is_carried_and_told(
    tmp_path: Path, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel(files, "num", "1.9")
    project(tmp_path, "num <2")
    assert wheels(run(tmp_path, "--have", "num==2.5")) == ["num-1.9-py3-none-any.whl"]
    assert "carried although that machine has num, which does not fit: <2 (setup.cfg)" in capsys.readouterr().out


def test_constraints_are_those_of_pip_and_of_the_option(
    tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("1.0", "2.0"):
        for name in ("one", "two", "three"):
            wheel(files, name, version)
    for name in ("one", "two"):
        (tmp_path / f"{name}.txt").write_text(f"# why\n--no-index\n{name} ==1.0  # why\n")
    monkeypatch.setenv("PIP_CONSTRAINT", str(tmp_path / "one.txt"))
    project(tmp_path, "one", "two", "three")
    found = wheels(run(tmp_path, "--constraint", tmp_path / "two.txt"))
    assert found == [f"{name}-py3-none-any.whl" for name in ("one-1.0", "three-2.0", "two-1.0")]


def test_what_no_wheel_fits_is_one_error_that_says_what_there_is(tmp_path: Path, files: Path) -> None:
    wheel(files, "one", "1.0", "two >=2")
    wheel(files, "two", "1.0")
    wheel(files, "two", "2.0", tag="cp39-cp39-win_amd64")
    sdist(files, "two", "3.0")
    sdist(files, "src", "1.0")
    project(tmp_path, "one", "two", "src")
    lines = refused(tmp_path).splitlines()
    assert lines[:3] == [
        "no wheel fits, for 2 of the packages",
        "  src: expected any version (setup.cfg); found source only: 1.0",
        "  two: expected any version (setup.cfg), >=2 (one 1.0); "
        "found source only: 3.0; for other machines: 2.0; fits: 1.0",
    ]
    assert "--build src,two" in lines[3]


def test_pure_wheel_is_built_only_where_that_is_asked_for(tmp_path: Path, files: Path) -> None:
    # A build backend of its own: nothing needs to be fetched for it.
    backend = (
        "import shutil\n"
        "def build_wheel(folder, config_settings=None, metadata_directory=None):\n"
        "    return shutil.copy('made/src-1.0-py3-none-any.whl', folder).rpartition('/')[2]\n"
    )
    made = tmp_path / "src-1.0"
    wheel(made / "made", "src", "1.0")
    (made / "backend.py").write_text(backend)
    (made / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        '[project]\nname = "src"\nversion = "1.0"\n'
    )
    with tarfile.open(files / "src-1.0.tar.gz", "w:gz") as tar:
        tar.add(made, "src-1.0")
    project(tmp_path, "src")
    assert "source only: 1.0" in refused(tmp_path)
    assert wheels(run(tmp_path, "--build", "other,Src")) == ["src-1.0-py3-none-any.whl"]


def test_release_with_metadata_that_pip_refuses_is_passed_over(tmp_path: Path, files: Path) -> None:
    wheel(files, "one", "1.0")
    wheel(files, "one", "2.0", "two >=5.1.*")
    project(tmp_path, "one")
    assert wheels(run(tmp_path)) == ["one-1.0-py3-none-any.whl"]


def test_version_that_a_later_specifier_excludes_leaves_no_wheel(tmp_path: Path, files: Path) -> None:
    wheel(files, "one", "1.0")
    wheel(files, "one", "2.0", "junk")
    wheel(files, "junk", "1.0")
    wheel(files, "two", "1.0", "one <2")
    project(tmp_path, "one", "two")
    bundle = run(tmp_path)
    assert wheels(bundle) == ["one-1.0-py3-none-any.whl", "two-1.0-py3-none-any.whl"]


@pytest.mark.parametrize("kind", ["json", "html"])
def test_download_that_breaks_off_is_one_error_with_pips_words(
    tmp_path: Path, files: Path, server: Index, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", server.url(kind))
    path = wheel(files, "one", "1.0")
    server.broken = {path.name}
    project(tmp_path, "one")
    assert refused(tmp_path).startswith("cannot be downloaded: ")


def test_no_answer_of_the_index_is_one_error(tmp_path: Path, server: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # the discard port: nothing listens there
    project(tmp_path, "one")
    assert re.match(r"http://127\.0\.0\.1:9/simple/one/: no answer: .*refused", refused(tmp_path))
    assert server.seen == []


def test_index_that_pip_does_not_trust_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://me:secret@index.invalid/simple")
    project(tmp_path, "one")
    said = refused(tmp_path)
    assert said.startswith("http://***@index.invalid/simple: expected https")
    assert "PIP_TRUSTED_HOST=index.invalid" in said


def test_wheel_under_another_name_is_refused(tmp_path: Path, files: Path) -> None:
    wheel(files, "other", "1.0").rename(files / "one-1.0-py3-none-any.whl")
    project(tmp_path, "one")
    assert "other" in refused(tmp_path)


def test_all_needs_the_extra_train_and_gets_detectron2(
    tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "source.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        (tmp_path / "__init__.py").write_text("")
        tar.add(tmp_path / "__init__.py", "pb1-detectron2-0.6/detectron2/__init__.py")
    monkeypatch.setattr(install_detectron2, "SHA256", sha256(archive.read_bytes()).hexdigest())
    wheel(files, "one", "1.0")
    wheel(files, "heavy", "1.0")
    project(tmp_path, "one")
    names = [re.split("[ <>=]", text)[0] for text in install_detectron2.REQUIRES]
    have = ",".join(name for name in names if name != "yacs")
    words: list[str | Path] = ["--detectron2-archive", archive, "--wheels-only", "--have"]
    said = refused(tmp_path, *words, have, wanted="all")
    assert "yacs: expected >=0.1.8 (detectron2)" in said
    bundle = run(tmp_path, *words, f"{have},yacs", wanted="all")
    found = [install_detectron2.WHEEL, "heavy-1.0-py3-none-any.whl", "one-1.0-py3-none-any.whl"]
    assert wheels(bundle) == found
    assert json.loads((bundle / "bundle.json").read_bytes())["wheels"][0]["version"] == install_detectron2.VERSION
    shutil.rmtree(bundle)
    assert wheels(run(tmp_path, "--have", "detectron2", wanted="all")) == found[1:]


# Sources and datasets


def test_sources_without_git_are_the_known_files_without_data_and_caches(tmp_path: Path, files: Path) -> None:
    wheel(files, "one", "1.0")
    project(tmp_path, "one")
    bundle = run(tmp_path)
    found = sorted(path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file())
    assert found == [
        "SHA256SUMS",
        "bundle.json",
        "check_target.py",
        "project/Makefile",
        "project/datasets/__init__.py",
        "project/datasets/pages/templates/page.css",
        "project/setup.cfg",
        "project/train/__init__.py",
        "run.sh",
        "wheels/one-1.0-py3-none-any.whl",
    ]
    listed = [line.split("  ") for line in (bundle / "SHA256SUMS").read_text().splitlines()]
    assert [path for _, path in listed] == found[1:]
    assert [digest for digest, _ in listed] == [sha256((bundle / path).read_bytes()).hexdigest() for path in found[1:]]
    assert json.loads((bundle / "bundle.json").read_bytes())["project"] == {
        "version": __version__,
        "commit": None,
        "modified": False,
    }


def test_sources_with_git_are_the_tracked_files_as_they_are(tmp_path: Path) -> None:
    root = project(tmp_path)
    (root / "gone.py").write_text("")
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "setup.cfg", "Makefile", "gone.py"], [*who, "commit", "-qm", "all"]):
        subprocess.run(["git", "-C", str(root), *words], check=True)
    commit = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    (root / "gone.py").unlink()
    (root / "Makefile").write_text("changed:\n")
    bundle = run(tmp_path)
    assert sorted(path.name for path in (bundle / "project").iterdir()) == ["Makefile", "setup.cfg"]
    assert (bundle / "project" / "Makefile").read_text() == "changed:\n"
    about = json.loads((bundle / "bundle.json").read_bytes())["project"]
    assert (about["commit"], about["modified"]) == (commit.stdout.strip(), True)


def test_wheels_only_has_no_sources_and_the_same_bytes_each_time(tmp_path: Path, files: Path) -> None:
    wheel(files, "one", "1.0")
    project(tmp_path, "one")
    bundle = run(tmp_path, "--wheels-only")
    assert not (bundle / "project").exists()
    sums = (bundle / "SHA256SUMS").read_bytes()
    bundle.rename(tmp_path / "first")
    assert (run(tmp_path, "--wheels-only") / "SHA256SUMS").read_bytes() == sums


def test_datasets_are_copied_with_what_links_in_them_point_to(tmp_path: Path) -> None:
    project(tmp_path)
    data = tmp_path / "in" / "small data"
    (data / "images" / "sub").mkdir(parents=True)
    (data / "manifest.json").write_text("{}")
    (data / "images" / "größe.jpg").write_text("pixels")
    (data / "images" / "sub" / "same.jpg").symlink_to("../größe.jpg")
    bundle = run(tmp_path, "--dataset", data)
    copied = bundle / "datasets" / "small data" / "images" / "sub" / "same.jpg"
    assert copied.read_text() == "pixels"
    assert not copied.is_symlink()
    assert json.loads((bundle / "bundle.json").read_bytes())["datasets"] == ["small data"]
    subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=bundle, check=True)


def test_datasets_that_cannot_be_carried_are_all_named_before_anything_is_fetched(tmp_path: Path) -> None:
    project(tmp_path, "one")  # of which there is no wheel
    data = tmp_path / "data"
    (data / "folder").mkdir(parents=True)
    (tmp_path / "twin" / "data").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (data / "out.jpg").symlink_to("/etc/hostname")
    (data / "dangling.jpg").symlink_to("nowhere")
    (data / "looping").symlink_to(data)
    (data / "line\nend.jpg").write_text("")
    os.mkfifo(data / "pipe")
    words: list[str | Path] = []
    for folder in (data, tmp_path / "twin" / "data", tmp_path / "empty", tmp_path / "none", tmp_path):
        words += ["--dataset", folder]
    said = refused(tmp_path, *words)
    assert said.startswith("datasets cannot be carried: 8 problems")
    for problem in (
        f"{data}/out.jpg: a link that leads outside of the dataset, to /etc/hostname",
        f"{data}/dangling.jpg: a link that is not one to a file",
        f"{data}/looping: a link that is not one to a file",
        "end.jpg: expected a name without line ends",
        f"{data}/pipe: expected a file or a folder, found a pipe",
        f"{tmp_path}/twin/data: another dataset is called 'data' too: {data}",
        f"{tmp_path}/none: expected a folder, found nothing",
        f"{tmp_path}: the bundle would lie in it",
    ):
        assert problem in said
    assert "expected a dataset, found no file" in refused(tmp_path, "--dataset", tmp_path / "empty")


def test_dataset_with_a_folder_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path)
    closed = tmp_path / "data" / "closed"
    closed.mkdir(parents=True)
    (tmp_path / "data" / "image.jpg").write_text("")
    listing = os.scandir

    def scandir(path: Any) -> Any:  # root may read everything, so permissions would not do
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return listing(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scandir)
        said = refused(tmp_path, "--dataset", tmp_path / "data")
    assert f"{closed}: cannot be read: Permission denied" in said


def test_dataset_counts_for_the_limit_before_anything_is_fetched(tmp_path: Path) -> None:
    root = project(tmp_path, "one")
    (tmp_path / "data").mkdir()
    with (tmp_path / "data" / "images.bin").open("wb") as file:
        file.truncate(3 * 10**6)
    (root / "Makefile").write_text("")
    said = refused(tmp_path, "--dataset", tmp_path / "data", "--max-mb", "2")
    assert "the bundle would have at least 3.0 MB, expected 2.0 MB at most" in said
    assert "3.0 MB  dataset data" in said


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    project(tmp_path, "one")
    (tmp_path / "bundle").symlink_to("nowhere")
    assert refused(tmp_path) == f"{tmp_path}/bundle: there is something already; remove it, or name another --output"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--python", "3.9"], "expected a Python"),
        (["--python", "312"], "expected a version like 3.12"),
        (["--glibc", "2.4"], "expected 2.5 or newer"),
        (["--glibc", "2.16", "--machine", "aarch64"], "expected 2.17 or newer"),
        (["--wheels-only", "--dataset", "x"], "found both"),
    ],
)
def test_wrong_usage(tmp_path: Path, words: list[str], said: str) -> None:
    project(tmp_path, "one")
    with pytest.raises(click.UsageError, match=said):
        run(tmp_path, *words)


def test_help_needs_nothing_and_has_an_example(tmp_path: Path) -> None:
    path = Path(script.__file__)
    # Isolated, and without the site-packages but click: neither packaging nor unearth is there.
    code = (
        f"import sys, runpy\nsys.path.append({str(Path(click.__file__).parents[1])!r})\n"
        "sys.modules['packaging'] = sys.modules['unearth'] = None\n"
        f"sys.argv = ['bundle.py', *sys.argv[1:]]\nrunpy.run_path({str(path)!r}, run_name='__main__')\n"
    )
    command = [sys.executable, "-I", "-c", code]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "python scripts/bundle.py --python 3.12 --have torch,torchvision,numpy" in done.stdout
    words = ["--python", "3.12", "--output", "out"]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: packaging and unearth: not installed; make setup")


# run.sh


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with the module `carried`, its command, and sources. Read-only."""
    folder = tmp_path_factory.mktemp("made")
    wheel(folder / "files", "carried", "1.0", "pytest")
    project(folder, "carried")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIP_CONFIG_FILE", os.devnull)
        patch.setenv("PIP_NO_INDEX", "1")
        patch.setenv("PIP_FIND_LINKS", str(folder / "files"))
        patch.setattr(script, "ROOT", folder / "checkout")
        return run(folder, "--have", "pytest", "--machine", os.uname().machine)


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Path:
    """A copy of it in a folder with a space in its name."""
    return Path(shutil.copytree(made, tmp_path / "carried here" / "bundle"))


def start(
    bundle: Path, *words: str, cwd: Path | None = None, python: str = sys.executable, **more: str
) -> subprocess.CompletedProcess[str]:
    """run.sh as on a bare machine, whose pip has settings that would fail."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHON": python,
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_REQUIRE_VIRTUALENV": "1",
        "PIP_NO_SUCH_THING": "1",
        "PIP_TARGET": "/nowhere",
        "HOME": str(bundle.parent),
        **more,
    }
    return subprocess.run(
        ["sh", str(bundle / "run.sh"), *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd or bundle.parent,
        env=environment,
        timeout=60,
    )


def sites(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The line of the error; nothing is installed and the command has not run."""
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr.splitlines()[-1].removeprefix("error: ")


def test_command_runs_with_what_was_carried_and_a_second_start_installs_nothing(bundle: Path, tmp_path: Path) -> None:
    cwd = tmp_path / "else where"
    cwd.mkdir()
    code = "import carried, datasets, os, sys; print(carried.version, datasets.where, os.getcwd(), sys.argv[1:])"
    first = start(bundle, "python", "-c", code, "a b", "*", cwd=cwd, PYTHONPATH="/behind")
    expected = f"1.0 {bundle}/project/datasets/__init__.py {cwd} ['a b', '*']\n"
    assert (first.returncode, first.stdout) == (0, expected), first.stderr
    [site] = (bundle / "site").iterdir()
    assert first.stderr == f"installing what this bundle carries into {site}\n"
    assert site.name == sha256((bundle / "SHA256SUMS").read_bytes()).hexdigest()[:16]
    (bundle / "wheels" / "carried-1.0-py3-none-any.whl").unlink()  # a second install would fail
    second = start(Path("../carried here/bundle"), "python3", "-c", code, "a b", "*", cwd=cwd)
    assert (second.returncode, second.stdout, second.stderr) == (0, expected, "")
    shown = start(bundle, "sh", "-c", 'echo "$PYTHONPATH $NO_ALBUMENTATIONS_UPDATE"; exit 7', PYTHONPATH="/behind")
    assert (shown.returncode, shown.stdout) == (7, f"{bundle}/project:{site}:/behind 1\n")


def test_without_a_command_it_says_how_to_use_it(bundle: Path) -> None:
    done = start(bundle)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Example: sh run.sh python -m train --help" in done.stderr
    assert not (bundle / "site").exists()


def test_file_that_changed_is_refused(bundle: Path) -> None:
    with (bundle / "wheels" / "carried-1.0-py3-none-any.whl").open("ab") as file:
        file.write(b"more")
    done = start(bundle, "python", "-c", "")
    assert refusal(done) == f"{bundle}: files are not as they were when the bundle was made; copy it again"
    assert "wheels/carried-1.0-py3-none-any.whl: FAILED" in done.stderr
    assert not (bundle / "site").exists()


def change(bundle: Path, **values: Any) -> None:
    """A bundle that was made with other values."""
    path = bundle / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **values}))
    (bundle / "SHA256SUMS").unlink()
    contents.write_sums(bundle)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"python": "3.99.1"}, r"expected Python 3\.99, .*found .*PYTHON=/path/to/python3\.99 sh run\.sh"),
        ({"machine": "pdp11"}, "expected a machine of kind pdp11, found .*--machine"),
        ({"glibc": "2.99"}, "expected glibc 2.99 or newer, found 2.*--glibc"),
        ({"have": {"no-such": None, "pytest": "8", "gone-too": "1"}}, "does not have: gone-too, no-such; .*--have"),
    ],
)
def test_machine_that_is_not_the_one_it_was_made_for_is_refused(bundle: Path, values: Any, said: str) -> None:
    change(bundle, **values)
    assert re.search(said, refusal(start(bundle, "python", "-c", "")))
    assert not (bundle / "site").exists()


def test_another_python_is_refused_after_the_install_too(bundle: Path, tmp_path: Path) -> None:
    assert start(bundle, "true").returncode == 0
    other = tmp_path / "python3.99"
    # What asks for the version gets another one.
    other.write_text(
        f"#!/bin/sh\nshift\nexec {sys.executable} -c 'import runpy, sys; sys.version_info = (3, 99)\n"
        'runpy.run_path(sys.argv.pop(1), run_name="__main__")\' "$@"\n'
    )
    other.chmod(0o755)
    assert f"found 3.99 ({sys.executable})" in refusal(start(bundle, "python", "-c", "", python=str(other)))


def test_python_that_is_not_there_is_named(bundle: Path) -> None:
    said = refusal(start(bundle, "true", python="python-of-nobody"))
    assert said == "python-of-nobody: not found; name a Python: PYTHON=/path/to/python3 sh run.sh ..."


def test_folder_that_cannot_be_written_names_the_way_out(bundle: Path, tmp_path: Path) -> None:
    (bundle / "site").write_text("")  # in the way, also for root
    said = refusal(start(bundle, "true"))
    assert (
        said == f"{bundle}/site: cannot be written; name a folder that can: BUNDLE_SITE=/path/to/folder sh run.sh ..."
    )
    done = start(bundle, "python", "-c", "import carried; print(carried.__file__)", BUNDLE_SITE="other/place")
    [site] = (bundle.parent / "other" / "place").iterdir()
    assert done.stdout == f"{site}/carried.py\n"
    assert "colon" in refusal(start(bundle, "true", BUNDLE_SITE=f"{tmp_path}/a:b"))


def test_new_bundle_in_the_same_place_is_installed_beside_the_old_one(bundle: Path) -> None:
    assert start(bundle, "true").returncode == 0
    change(bundle, have={})
    done = start(bundle, "python", "-c", "import carried; print(carried.__file__)")
    digest = sha256((bundle / "SHA256SUMS").read_bytes()).hexdigest()[:16]
    assert done.stdout == f"{bundle}/site/{digest}/carried.py\n"
    assert len(sites(bundle / "site")) == 2


def test_interrupted_install_does_not_count(bundle: Path, tmp_path: Path) -> None:
    # A Python whose pip begins, and then waits for ever.
    slow = tmp_path / "python"
    slow.write_text(
        '#!/bin/sh\nif [ "$1" = -m ]; then\n'
        f'  touch "{tmp_path}/begun"\n  exec sleep 60\nfi\nexec {sys.executable} "$@"\n'
    )
    slow.chmod(0o755)
    environment = {"PATH": os.environ["PATH"], "PYTHON": str(slow)}
    command = ["sh", str(bundle / "run.sh"), "true"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True) as process:
        deadline = time.monotonic() + 20
        while not (tmp_path / "begun").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert [name[:12] for name in sites(bundle / "site")] == [".installing-"]
        os.killpg(process.pid, signal.SIGTERM)
    assert process.returncode == 143  # 128 + SIGTERM
    assert sites(bundle / "site") == []
    assert start(bundle, "python", "-c", "import carried").returncode == 0


def test_two_starts_at_once_both_work(bundle: Path) -> None:
    done: list[subprocess.CompletedProcess[str]] = []
    threads = [
        threading.Thread(target=lambda: done.append(start(bundle, "python", "-c", "import carried; print(1)")))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(each.returncode, each.stdout) for each in done] == [(0, "1\n")] * 2
    assert len(sites(bundle / "site")) == 1
    [site] = (bundle / "site").iterdir()
    assert "site" not in sites(site)  # neither was moved into the other


def test_wheels_only_runs_the_sources_of_the_current_folder(made: Path, bundle: Path) -> None:
    shutil.rmtree(bundle / "project")
    change(bundle)
    code = "import datasets; print(datasets.where)"
    cwd = made.parent / "checkout"
    done = start(bundle, "python", "-c", code, cwd=cwd)
    assert done.stdout == f"{cwd}/datasets/__init__.py\n"
