"""The detections of the best epoch's validation: kept in the run's folder, with what they were measured on.

COCO's results format has no room for the latter, so it has a file of its own beside the results.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from datasets import results
from datasets.digests import sha256_file
from datasets.errors import DataError
from datasets.results import Results
from datasets.staging import cannot_write, write_durably

RESULTS, DATA = "val_results.json", "val_results.data.json"


class MeasuredOn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of val_results.data.json: the validation data, by absolute paths, and how they were read.

    `skipped` are the ids of images that --skip-bad left out. `trained_objects` are the objects that the run trains on,
    by category id: in a build, with those of its variants.
    """

    annotations: str
    annotations_sha256: str
    images: str
    clip_boxes: bool = False
    skip_bad: bool = False
    follow_links: bool = False
    skipped: tuple[int, ...] = ()
    trained_objects: dict[int, int]
    results_sha256: str = ""
    epoch: int = 0
    format: Literal[1] = 1


def shown_path(path: Path) -> str:
    """The absolute path as text; bytes that are no UTF-8 are replaced."""
    return str(path.absolute()).encode("utf-8", "replace").decode()


def write(folder: Path, measured_on: MeasuredOn, found: Results, epoch: int) -> None:
    """Write both files, each whole or not at all. Raises DataError where they cannot be written.

    The one about the data comes first, with the digest of the results, so that an interrupted pair does not match.
    """

    def describe(written: Path) -> None:
        about = msgspec.structs.replace(measured_on, results_sha256=sha256_file(written), epoch=epoch)
        text = msgspec.json.format(msgspec.json.encode(about), indent=1).decode()
        write_durably(folder / DATA, f"{text}\n")

    try:
        results.write(folder / RESULTS, found, written=describe)
    except OSError as error:
        raise cannot_write(folder / RESULTS, error) from None


def read_measured_on(folder: Path) -> MeasuredOn | None:
    """What the kept detections were measured on; None where a run kept none.

    Raises DataError for another content, and where the two files do not belong together.
    """
    path = folder / DATA
    try:
        found = msgspec.json.decode(path.read_bytes(), type=MeasuredOn, strict=True)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: expected what a training writes beside {RESULTS}: {error}") from None
    if not (folder / RESULTS).is_file() or sha256_file(folder / RESULTS) != found.results_sha256:
        raise DataError(
            f"{path}: describes other results than {RESULTS}, as when a training was killed; --resume writes both anew"
        )
    return found
