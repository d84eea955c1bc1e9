"""Fetch COCO 2017 and unpack it to OUTPUT/train2017, OUTPUT/val2017 and OUTPUT/annotations.

Safe to stop and start again at any point: a download continues where it ended, and an archive or a folder gets its
final name only once it is whole. Sizes and positions are in bytes throughout.
"""

from __future__ import annotations

import re
import shutil
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it also runs without PYTHONPATH

from datasets import cli
from datasets.errors import DataError, Problems

if TYPE_CHECKING:  # imported where they are used, to keep --help fast
    from email.message import Message
    from http.client import HTTPResponse
    from urllib.error import HTTPError
    from zipfile import ZipInfo

    from tqdm import tqdm


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
WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds between attempts without progress; one more ends the run
TIMEOUT = 60.0  # seconds without a byte
CHUNK = 1 << 16
MAY_PASS = (408, 429, 500, 502, 503, 504)  # HTTP statuses of a server in temporary trouble
BOMB = 2  # how many times the expected size an archive may declare


class TransferError(Exception):
    """An attempt failed in a way that a retry may fix."""


class ResumeError(TransferError):
    """The server cannot resume our partial file; only a new download helps."""


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


def body_start(status: int, headers: Message, offset: int, size: int, url: str) -> int:
    """The file position of a response's body, after a request for the bytes from `offset` on.

    Raises DataError where the server lacks the file, TransferError where a retry may help.
    """
    span, length = headers.get("Content-Range", ""), headers.get("Content-Length", "")
    match = re.fullmatch(r"bytes (?:([0-9]+)-[0-9]+|\*)/([0-9]+|\*)", span)
    if status in (206, 416) and match and match[2] not in ("*", str(size)):
        raise DataError(f"{url}: expected a file of {size} bytes, found Content-Range: {span} (HTTP status {status})")
    if status == 416:
        raise ResumeError("HTTP status 416 (it does not continue a download)")
    if status in MAY_PASS:
        raise TransferError(f"HTTP status {status}")
    if status not in (200, 206):
        raise DataError(f"{url}: expected HTTP status 200 or 206, found {status}")
    if status == 206 and (not match or match[1] != str(offset)):
        raise TransferError(f"expected the bytes from {offset} on, found Content-Range: {span or 'none'}")
    start = offset if status == 206 else 0
    if re.fullmatch(r"[0-9]+", length) and (start + int(length) > size or (status == 200 and int(length) != size)):
        raise DataError(f"{url}: expected {size - start} bytes, found Content-Length: {length}")
    return start


def length_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def progress(label: str, total: int, initial: int = 0) -> tqdm[NoReturn]:
    """A progress bar in bytes on stderr; none where that is not a terminal."""
    from tqdm import tqdm

    return tqdm(desc=label, total=total, initial=initial, unit="B", unit_scale=True, disable=None)


def open_at(url: str, offset: int) -> HTTPResponse | HTTPError:
    """The response, whatever its status, to a request for the bytes from `offset` on. Raises DataError or
    TransferError.
    """
    import http.client
    import urllib.error
    import urllib.request

    headers = {"User-Agent": "scarcedet", **({"Range": f"bytes={offset}-"} if offset else {})}
    try:
        response: HTTPResponse = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as answer:
        return answer
    except (ValueError, http.client.InvalidURL) as error:
        raise DataError(f"{url}: not a usable URL: {error}") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise TransferError(f"no answer ({reason})") from None
    return response


def chunks(response: HTTPResponse | HTTPError) -> Iterator[bytes]:
    """The body in pieces. Network errors become TransferError; a full disk raises in the caller."""
    import http.client

    try:
        while chunk := response.read(CHUNK):
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise TransferError(f"the connection broke ({str(error) or type(error).__name__})") from None


def fetch_rest(archive: Archive, url: str, part: Path) -> None:
    """One request for the missing part of `part`. Raises DataError, or TransferError if it is still incomplete."""
    offset = length_of(part)
    with open_at(url, offset) as response:
        have = body_start(response.status or 0, response.headers, offset, archive.size, url)
        # A server that ignores Range sends everything, hence "wb".
        with part.open("ab" if have else "wb") as file, progress(archive.name, archive.size, have) as bar:
            for chunk in chunks(response):
                have += len(chunk)
                if have > archive.size:
                    part.unlink()
                    raise DataError(f"{url}: expected {archive.size} bytes, found more; {part} was removed")
                file.write(chunk)
                bar.update(len(chunk))
    if have < archive.size:
        raise TransferError(f"the connection ended after {have} of {archive.size} bytes")


def attempt(archive: Archive, url: str, part: Path) -> str:
    """One request for the missing part of `part`; the reason why it is still incomplete, or "". Raises DataError."""
    try:
        fetch_rest(archive, url, part)
    except ResumeError as failure:
        part.unlink(missing_ok=True)
        return str(failure)
    except TransferError as failure:
        return str(failure)
    return ""


def download(archive: Archive, url: str, part: Path, waits: Sequence[float]) -> None:
    """Complete `part`, in as many requests as needed.

    `waits` are the seconds between attempts without progress; raises DataError after len(waits) + 1 of them in a row.
    Progress means more bytes than ever in this run, so that no server can make us restart forever.
    """
    best, failures = length_of(part), 0
    # A connection that breaks after the last byte is no failure.
    while (reason := attempt(archive, url, part)) and (have := length_of(part)) < archive.size:
        best, failures = max(best, have), 0 if have > best else failures + 1
        if failures > len(waits):
            remedies = [
                reason,
                f"{have} of {archive.size} bytes are in {part}: the same command continues from there",
                f"or download {url} by hand, save it as {part.with_suffix('')} and run the same command again",
            ]
            raise DataError(f"{url}: no progress in {failures} attempts", remedies)
        wait = waits[max(failures, 1) - 1] if waits else 0.0
        click.echo(f"{archive.name}: {reason}; trying again in {wait:g} s", err=True)
        time.sleep(wait)


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
        download(archive, f"{base_url.rstrip('/')}/{archive.path}", part, waits)
    verify(part, archive)
    return part.rename(path)


def member_problem(member: ZipInfo, folder: str) -> str | None:
    """Why a member must not be unpacked: a path outside `folder`, or neither a file nor a directory."""
    path = PurePosixPath(member.filename)
    kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where the archiver recorded none
    inside = path.parts[:1] == (folder,) and ".." not in path.parts and (len(path.parts) > 1 or member.is_dir())
    if not inside or "\\" in member.filename:
        return f"{member.filename!r}: expected a path in {folder}/"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return f"{member.filename!r}: expected a file or a directory, found {'a link' if stat.S_ISLNK(kind) else kind}"
    return None


def check_members(members: Sequence[ZipInfo], archive: Archive) -> None:
    """Raise DataError for members that must not be unpacked, and for far more bytes than expected (a zip bomb)."""
    problems = Problems()
    for member in members:
        if problem := member_problem(member, archive.folder):
            problems.add(problem)
    problems.raise_if_any(f"{archive.name}: refused, for {{n}} of its members")
    total, limit = sum(member.file_size for member in members), BOMB * archive.unpacked
    if not 0 < total <= limit:
        raise DataError(f"{archive.name}: refused, expected 1 to {limit} bytes once unpacked, found {total}")


def unpack(path: Path, archive: Archive, output: Path) -> None:
    """Unpack to OUTPUT/FOLDER, which appears whole or not at all. Raises DataError, also for a wrong CRC."""
    import zipfile
    import zlib

    scratch = output / f".{archive.folder}.unpacking"
    try:
        with zipfile.ZipFile(path) as file:
            check_members(file.infolist(), archive)
            total = sum(member.file_size for member in file.infolist())
            with progress(f"{archive.folder}: unpacking", total) as bar:
                for member in file.infolist():
                    file.extract(member, scratch)
                    bar.update(member.file_size)
        (scratch / archive.folder).rename(output / archive.folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # the last: encrypted, or unknown method
        raise DataError(f"{path}: cannot be unpacked: {error}") from error
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
