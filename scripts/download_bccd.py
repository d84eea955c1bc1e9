"""Fetch BCCD, 364 photographs of blood smears, as COCO data: OUTPUT/annotations/instances_{train,val,test}.json and the
images in OUTPUT/train, OUTPUT/val and OUTPUT/test.

python scripts/download_bccd.py --output datasets/bccd
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it also runs without PYTHONPATH

from datasets import cli
from datasets.errors import DataError
from datasets.staging import staging
from scripts.downloading.archives import opened
from scripts.downloading.transfer import WAITS, Remote, download

if TYPE_CHECKING:  # imported where they are used, to keep --help fast
    from collections.abc import Mapping

    from scripts.downloading.bccd import Split

COMMIT = "d272fb14cdff6e473fafeeeba32aba5f560e9e43"
URL = f"https://github.com/Shenggan/BCCD_Dataset/archive/{COMMIT}.zip"
LARGEST = 64_000_000  # bytes of the archive; GitHub makes it anew for each request and tells no size
ROOM = 40_000_000  # bytes on the disk: the archive, and 8 MB of it unpacked
ARCHIVE = "bccd.zip"


def fetch(
    output: Path,
    url: str = URL,
    archive: Path | None = None,
    accept: bool = False,
    *,
    splits: Mapping[str, Split] | None = None,
    waits: Sequence[float] = WAITS,
) -> None:
    """Make OUTPUT, whole or not at all, from the archive at `url`, or from one that is here already.

    `splits` is what must come out, by default bccd.SPLITS; with `accept`, differences are only reported. Raises
    DataError.
    """
    from scripts.downloading import bccd

    expected = bccd.SPLITS if splits is None else splits
    if is_there(output, expected):
        click.echo(f"{output}: already there")
        return
    with staging(output) as folder:
        left_out = convert(archive or downloaded(url, folder, waits), str(archive or url), folder, expected)
        (folder / ARCHIVE).unlink(missing_ok=True)
        check(folder, str(archive or url), expected, accept)
    for split in expected:
        click.echo(f"{split}: {len(list((output / split).iterdir())):,} images in {output / split}")
    click.echo(f"left out: {left_out} objects without area")


def is_there(output: Path, expected: Mapping[str, Split]) -> bool:
    """Whether OUTPUT is what would come out. Raises DataError where there is something else."""
    from scripts.downloading import bccd

    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return False
    try:
        found = bccd.differences(output, expected)
    except (DataError, OSError) as error:
        found = [str(error)]
    if found:
        advice = "remove it, or name another --output"
        raise DataError(f"{output}: expected a new or empty folder, or BCCD, found something else", found, None, advice)
    return True


def downloaded(url: str, folder: Path, waits: Sequence[float]) -> Path:
    """The archive, in `folder`. Raises DataError, also where the disk has no room for what is to come."""
    free = shutil.disk_usage(folder).free
    if free < ROOM:
        raise DataError(f"{folder}: expected {ROOM:,} bytes of free disk space, found {free:,}")
    remote = Remote("bccd", url, LARGEST, exact=False, by_hand="and give its name as --archive")
    download(remote, folder / ARCHIVE, waits)
    return folder / ARCHIVE


def convert(archive: Path, name: str, folder: Path, splits: Mapping[str, Split]) -> int:
    """Write the data of an archive to `folder`; returns the number of objects without area. Raises DataError."""
    from scripts.downloading import bccd

    with opened(archive, name) as file:
        return bccd.write(bccd.Repository(file, name), folder, splits)


def check(folder: Path, name: str, expected: Mapping[str, Split], accept: bool) -> None:
    """Raise DataError where the data differ from what they must be; with `accept`, say so and go on."""
    from scripts.downloading import bccd

    found = bccd.differences(folder, expected)
    if found and not accept:
        advice = "its makers have changed it, or this is another archive; --accept-changes takes it as it is"
        raise DataError(f"{name}: expected BCCD as of commit {COMMIT[:7]}, found differences", found, None, advice)
    for difference in found:
        cli.note(f"warning: {difference}")


@click.command(epilog="Example: python scripts/download_bccd.py --output datasets/bccd, then make dataset DATA=bccd")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="New or empty folder.")
@click.option("--url", default=URL, show_default=True, help="Where the archive is, for a mirror of it.")
@click.option(
    "--archive",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The archive, downloaded by hand; nothing is fetched.",
)
@click.option("--accept-changes", is_flag=True, help="Take an archive with other images or objects in it.")
def main(output: Path, url: str, archive: Path | None, accept_changes: bool) -> None:
    """Fetch BCCD, photographs of blood smears with boxes (MIT licence), and convert it to COCO: 8 MB.

    What comes out is compared with the data that this project's results on BCCD are measured on.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise click.BadParameter(f"expected http://... or https://..., found {url!r}", param_hint="--url")
    fetch(output.resolve(), url, archive, accept_changes)


if __name__ == "__main__":
    cli.run(main, prog_name="python scripts/download_bccd.py")
