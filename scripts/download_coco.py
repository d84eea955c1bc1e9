"""Fetch COCO 2017 and unpack it to OUTPUT/train2017, OUTPUT/val2017 and OUTPUT/annotations.

Safe to stop and start again at any point: a download continues where it ended, and an archive or a folder gets its
final name only once it is whole. Sizes and positions are in bytes throughout.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it also runs without PYTHONPATH

from datasets import cli
from datasets.errors import DataError
from scripts.downloading.archives import check_members, opened
from scripts.downloading.transfer import CHUNK, WAITS, Remote, download, length_of, progress


class Archive(NamedTuple):
    """A zip file that contains one folder and nothing else."""

    folder: str
    path: str  # below the base URL
    size: int
    md5: str
    unpacked: int  # disk space of its unpacked files, rounded up

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def part(self) -> str:
        """Its name in --parts."""
        return self.folder.removesuffix("2017")


# JPEGs do not shrink in a zip; on disk, each of the 118287 and 5000 files wastes part of its last block. The
# annotations do shrink: their six files are 834416290 bytes.
ARCHIVES = (
    Archive("train2017", "zips/train2017.zip", 19336861798, "cced6f7f71b7629ddf16f17bbcfab6b2", 19_700_000_000),
    Archive("val2017", "zips/val2017.zip", 815585330, "442b8da7639aecaf257c1dceb8ba8c80", 830_000_000),
    Archive(
        folder="annotations",
        path="annotations/annotations_trainval2017.zip",
        size=252907541,
        md5="f4bbac642086de4f52a3fdda2de5fa2c",
        unpacked=840_000_000,
    ),
)
BASE_URL = "http://images.cocodataset.org"
BOMB = 2  # how many times the expected size an archive may declare


def choose(parts: str, archives: Sequence[Archive]) -> list[Archive]:
    """The archives named in a comma-separated list, in the table's order. Raises click.BadParameter."""
    asked = {part.strip() for part in parts.split(",")}
    known = [archive.part for archive in archives]
    if unknown := sorted(asked - set(known)):
        raise click.BadParameter(f"expected some of {','.join(known)}, found {unknown[0]!r}", param_hint="--parts")
    return [archive for archive in archives if archive.part in asked]


def room_needed(work: Iterable[tuple[Archive, int]], keep: bool) -> int:
    """Peak of additional disk space for pairs of an archive and the bytes already here, processed one after the
    other.
    """
    used = peak = 0
    for archive, have in work:
        used += archive.size - have + archive.unpacked
        peak = max(peak, used)
        used -= 0 if keep else archive.size
    return peak


def verify(path: Path, archive: Archive) -> None:
    """Raise DataError unless `path` is the archive; a file of the right size with wrong content is removed."""
    import hashlib

    if length_of(path) != archive.size:
        raise DataError(f"{path}: expected {archive.size} bytes, found {length_of(path)}: remove it and try again")
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file, progress(f"{archive.name}: checking", archive.size) as bar:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    if digest.hexdigest() != archive.md5:
        path.unlink()
        raise DataError(f"{path}: expected MD5 {archive.md5}, found {digest.hexdigest()}: removed it, try again")


def obtain(archive: Archive, output: Path, base_url: str, waits: Sequence[float]) -> Path:
    """The verified archive as OUTPUT/NAME.zip, downloaded unless it is there. Raises DataError."""
    path, part = output / archive.name, output / f"{archive.name}.part"
    if path.exists():
        verify(path, archive)
        part.unlink(missing_ok=True)  # left by a download that was completed by hand
        return path
    if length_of(part) > archive.size:
        click.echo(f"{part}: expected {archive.size} bytes, found {length_of(part)}: starting over", err=True)
        part.unlink()
    if length_of(part) < archive.size:
        by_hand = f"save it as {path} and run the same command again"
        url = f"{base_url.rstrip('/')}/{archive.path}"
        download(Remote(archive.name, url, archive.size, by_hand=by_hand), part, waits)
    verify(part, archive)
    return part.rename(path)


def unpack(path: Path, archive: Archive, output: Path) -> None:
    """Unpack to OUTPUT/FOLDER, which appears whole or not at all. Raises DataError, also for a wrong CRC."""
    scratch = output / f".{archive.folder}.unpacking"
    try:
        with opened(path, str(path)) as file:
            members = file.infolist()
            check_members(members, archive.name, archive.folder, BOMB * archive.unpacked)
            with progress(f"{archive.folder}: unpacking", sum(member.file_size for member in members)) as bar:
                for member in members:
                    file.extract(member, scratch)
                    bar.update(member.file_size)
        (scratch / archive.folder).rename(output / archive.folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def lacking(archives: Iterable[Archive], output: Path, keep: bool) -> list[Archive]:
    """Archives not unpacked yet, after removing partly unpacked folders; reports those that are complete."""
    missing = []
    for archive in archives:
        folder, path = output / archive.folder, output / archive.name
        shutil.rmtree(output / f".{archive.folder}.unpacking", ignore_errors=True)
        if folder.is_dir() and any(folder.iterdir()):
            idle = f" ({path} is no longer needed)" if path.exists() and not keep else ""
            click.echo(f"{archive.folder}: already there{idle}")
        else:
            missing.append(archive)
    return missing


def check_room(archives: Iterable[Archive], output: Path, keep: bool) -> None:
    """Raise DataError unless the disk has room for what is still to be downloaded and unpacked."""
    work = []
    for archive in archives:
        have = length_of(output / archive.name) or length_of(output / f"{archive.name}.part")
        work.append((archive, have if have <= archive.size else 0))
    needed, free = room_needed(work, keep), shutil.disk_usage(output).free
    if needed > free:
        raise DataError(f"{output}: expected {needed:,} bytes of free disk space, found {free:,}")


def fetch(archives: Iterable[Archive], output: Path, base_url: str, keep: bool, waits: Sequence[float] = WAITS) -> None:
    """Download, verify and unpack what is missing. Raises DataError."""
    output.mkdir(parents=True, exist_ok=True)
    missing = lacking(archives, output, keep)
    check_room(missing, output, keep)
    for archive in missing:
        path = obtain(archive, output, base_url, waits)
        unpack(path, archive, output)
        if not keep:
            path.unlink()
        click.echo(f"{archive.folder}: unpacked to {output / archive.folder}")


@click.command(epilog="Example: python scripts/download_coco.py --output datasets/coco --parts val,annotations")
@click.option("--output", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to unpack to.")
@click.option("--parts", default="train,val,annotations", show_default=True, help="What to fetch.")
@click.option("--keep-archives", is_flag=True, help="Keep the zip files after unpacking them.")
@click.option("--base-url", default=BASE_URL, show_default=True, help="A mirror of the site.")
def main(output: Path, parts: str, keep_archives: bool, base_url: str) -> None:
    """Fetch COCO 2017: about 20 GB to download, twice that on the disk meanwhile.

    Run the same command again after any interruption: it continues where it stopped.
    """
    if not base_url.lower().startswith(("http://", "https://")):
        raise click.BadParameter(f"expected http://... or https://..., found {base_url!r}", param_hint="--base-url")
    fetch(choose(parts, ARCHIVES), output, base_url, keep_archives)


if __name__ == "__main__":
    cli.run(main, prog_name="python scripts/download_coco.py")
