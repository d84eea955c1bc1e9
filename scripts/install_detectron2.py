"""Install Detectron2 0.6 as pure Python: no compiler, no network beyond the package index.

Its own index page holds no release; `pb1-detectron2` there has the Python files of tag v0.6, byte for byte, and none of
the C++ ones. Mask R-CNN needs none of these: RoIAlign and NMS are torchvision's. So its Python files become a wheel,
with a stub where the compiled part would be. An official build that is installed already is kept.
"""

from __future__ import annotations

import base64
import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from importlib import metadata, util
from pathlib import Path, PurePosixPath

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it also runs without PYTHONPATH

from datasets import cli
from datasets.errors import DataError

REQUIREMENT = "pb1-detectron2==0.6"
SHA256 = "5d2e9e51e523ec72f6a31cca04b0a515492e9514b773a3d134cedc0677170b29"
VERSION = "0.6+pure"
DIST_INFO = f"detectron2-{VERSION}.dist-info"
WHEEL = f"detectron2-{VERSION}-py3-none-any.whl"
MAX_FILE = 2**24  # bytes; the largest file has 1 MB

# What its modules import; setup.cfg's extra `train` lists the same. Its own setup.py also lists black, future and
# pydot, for exports that are not used here.
REQUIRES = (
    "cloudpickle",
    "fvcore <0.1.6,>=0.1.5",
    "hydra-core >=1.1",
    "iopath <0.1.10,>=0.1.7",
    "matplotlib",
    "omegaconf >=2.1",
    "pillow",
    "pycocotools",
    "tabulate",
    "tensorboard",
    "termcolor",
    "tqdm",
    "yacs >=0.1.8",
)

STUB = '''"""Stands where Detectron2's C++ extension would be; RoIAlign and NMS come from torchvision instead."""


def get_compiler_version():
    return "none (pure Python)"


def get_cuda_version():
    return "none (pure Python)"


def has_cuda():
    return False


def __getattr__(name):
    raise AttributeError(f"this Detectron2 is pure Python and has no C++ operator {name!r}; it needs an official build")
'''

REMEDIES = """Either run this on a machine that has network, `python scripts/install_detectron2.py --wheel-dir DIR`,
  carry the wheel here and `pip install --no-deps DIR/*.whl`,
or install an official build by Detectron2's own instructions (its git repository, needs a compiler); it is kept."""


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--archive", type=click.Path(path_type=Path), help="The source archive, if it is here already.")
@click.option("--wheel-dir", type=click.Path(path_type=Path), help="Write the wheel there and install nothing.")
def main(archive: Path | None, wheel_dir: Path | None) -> None:
    """Install Detectron2 0.6 for this Python, without a compiler. An official build that is there is kept.

    \b
    Example:
      python scripts/install_detectron2.py
      python scripts/install_detectron2.py --wheel-dir /media/stick    # for a machine without network
    """
    if wheel_dir is None and (found := installed()) is not None:
        click.echo(found)
        return
    with tempfile.TemporaryDirectory() as temporary:
        source = archive or download(Path(temporary))
        wheel = Path(temporary) / WHEEL
        write_wheel(wheel, python_files(read_checked(source, SHA256)))
        if wheel_dir is not None:
            wheel_dir.mkdir(parents=True, exist_ok=True)
            (wheel_dir / WHEEL).write_bytes(wheel.read_bytes())
            click.echo(f"wrote {wheel_dir / WHEEL}; install it with: pip install --no-deps {wheel_dir / WHEEL}")
            return
        install(wheel)
    click.echo(f"detectron2 {VERSION}: installed as pure Python, no compiler used")


def installed() -> str | None:
    """A sentence about the installed Detectron2; None without one. Raises DataError for a broken installation."""
    spec = util.find_spec("detectron2")
    if spec is None or spec.origin is None:
        return None
    try:
        version = metadata.version("detectron2")
    except metadata.PackageNotFoundError:
        version = "of unknown version"
    folder = Path(spec.origin).parent
    if not any(folder.glob("_C*")):
        raise DataError(
            f"{folder}: expected Detectron2 with its compiled part _C, found none; finish that build, or "
            "`pip uninstall detectron2` and run this again"
        )
    if version == VERSION:
        return f"detectron2 {version}: the pure-Python build is installed already"
    return f"detectron2 {version}: the build that is installed already in {folder} is kept"


def download(folder: Path) -> Path:
    """The source archive from the package index. Raises DataError, with both remedies, where that fails.

    Not by pip, which refuses the archive for a direct URL among its extras.
    """
    command = [sys.executable, "-m", "unearth", "--no-binary", "--download", str(folder), REQUIREMENT]
    if index := os.environ.get("PIP_INDEX_URL"):  # empty is unset, as in pip
        command[3:3] = ["--index-url", index]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    archives = sorted(folder.glob("*.tar.gz"))
    if done.returncode or not archives:
        lines = done.stderr.strip().splitlines()
        raise DataError(f"{REQUIREMENT} cannot be downloaded: {lines[-1] if lines else 'not found'}\n{REMEDIES}")
    return archives[0]


def read_checked(archive: Path, sha256: str) -> bytes:
    """The archive's bytes. Raises DataError where they are not the verified ones."""
    data = archive.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise DataError(f"{archive}: expected SHA-256 {sha256}, found {found}; nothing was installed")
    return data


def python_files(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """(path, content) of the package's Python files and its licence, sorted by path."""
    found: dict[str, bytes] = {}
    with tempfile.TemporaryFile() as file:
        file.write(archive)
        file.seek(0)
        with tarfile.open(fileobj=file, mode="r:gz") as tar:
            for member in tar:
                whole = PurePosixPath(member.name)
                if whole.is_absolute() or ".." in whole.parts:
                    continue
                path = PurePosixPath(*whole.parts[1:])
                is_code = path.parts[:1] == ("detectron2",) and path.suffix == ".py"
                if not member.isreg() or member.size > MAX_FILE or not (is_code or str(path) == "LICENSE"):
                    continue
                content = tar.extractfile(member)
                assert content is not None  # a regular file
                found[str(path) if is_code else f"{DIST_INFO}/LICENSE"] = content.read()
    found["detectron2/_C.py"] = STUB.encode()
    yield from sorted(found.items())


def write_wheel(path: Path, files: Iterator[tuple[str, bytes]]) -> None:
    """A wheel of these files (PEP 427), the same bytes on every run."""
    requires = "".join(f"Requires-Dist: {item}\n" for item in REQUIRES)
    texts = {
        "METADATA": "Metadata-Version: 2.1\nName: detectron2\n"
        f"Version: {VERSION}\nLicense: Apache-2.0\n"
        f"Summary: Detectron2 v0.6, its Python files only\nRequires-Python: >=3.10\n{requires}",
        "WHEEL": "Wheel-Version: 1.0\nGenerator: scarcedet\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    entries = [*files, *((f"{DIST_INFO}/{name}", text.encode()) for name, text in texts.items())]
    record = "".join(f"{name},sha256={_digest(content)},{len(content)}\n" for name, content in entries)
    entries.append((f"{DIST_INFO}/RECORD", f"{record}{DIST_INFO}/RECORD,,\n".encode()))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in entries:
            # ZipInfo's default time is fixed.
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o644 << 16
            wheel.writestr(info, content, zipfile.ZIP_DEFLATED)


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def install(wheel: Path) -> None:
    """Raises DataError with pip's last words where it fails."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, "--no-deps", "--no-index", str(wheel)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise DataError(f"pip could not install {wheel.name}:\n{done.stderr.strip()}")


if __name__ == "__main__":
    cli.run(main, "install_detectron2.py")
