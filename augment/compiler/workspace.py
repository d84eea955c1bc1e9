"""OUT.partial, where a build is made, from which an interrupted build is resumed, and which becomes OUT.

OUT.partial/build.json          the identity of the build
OUT.partial/journal             the sources rendered so far, with the digests of their images
OUT.partial/unfinished-*/       files that are being written
OUT.partial/dataset/            renamed to OUT as the last step
OUT.partial/lock                locked while a build runs
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from augment.compiler import manifest
from datasets import build_layout
from datasets.errors import DataError
from datasets.staging import (
    CONTENT,
    MARKER,
    cannot_write,
    claimed,
    clear,
    is_in_one_go,
    partial_of,
    sync_file_system,
    sync_folder,
    write_durably,
)

JOURNAL = "journal"


class Workspace(NamedTuple):
    """The folders of a running build; `unfinished` is new in each run, out of reach of an earlier run's workers."""

    output: Path
    folder: Path
    dataset: Path
    unfinished: Path

    @property
    def journal(self) -> Path:
        return self.folder / JOURNAL

    def finish(self) -> None:
        """Flush everything to disk, then rename the dataset: after a power cut it is whole or absent."""
        sync_file_system(self.dataset)
        self.dataset.replace(self.output)
        sync_folder(self.output.parent)
        clear(self.folder)


@contextmanager
def opened(output: Path, wanted: dict[str, Any], *, restart: bool) -> Iterator[Workspace]:
    """The workspace of a build of `output` with the identity `wanted`; rendered sources stay when the block fails.

    Raises DataError where another build is running, where the folder is somebody else's, or where it holds an
    unfinished build of another identity, naming the differences; `restart` removes that one. Errors that leave the
    block, and Ctrl-C, say what is kept and how to go on.
    """
    with claimed(output) as folder:
        try:
            if restart or is_in_one_go(folder):
                clear(folder, keep_lock=True)
            space = _prepared(output, folder, wanted)
        except OSError as error:
            raise cannot_write(folder, error) from None
        try:
            yield space
        except OSError as error:
            raise _with_advice(cannot_write(space.dataset, error), space) from None
        except DataError as error:
            raise _with_advice(error, space) from None
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_advice(space)) from None
        finally:
            if not _is_begun(space):
                with contextlib.suppress(OSError):
                    clear(folder)


def discard_finished(output: Path) -> None:
    """Clear what a build leaves that was killed right after its dataset appeared."""
    folder = partial_of(output)
    with contextlib.suppress(DataError, OSError):
        if folder.is_dir() and not (folder / CONTENT).exists():
            with claimed(output):
                clear(folder)


def _prepared(output: Path, folder: Path, wanted: dict[str, Any]) -> Workspace:
    description = folder / MARKER
    if description.exists():
        found = _read(description)
        if found.get("format") != wanted.get("format"):
            raise DataError(
                f"{folder}: holds an unfinished build that another version began (format {found.get('format')}, "
                f"expected {wanted.get('format')}); --restart starts over, another --output keeps it"
            )
        problems = manifest.differences(wanted, found)
        if problems:
            raise DataError(
                f"{folder}: holds an unfinished build of something else; --restart starts over, another --output "
                "leaves it as it is",
                problems,
            )
    else:
        write_durably(description, f"{json.dumps(wanted, indent=1, ensure_ascii=False)}\n")
    for left in folder.glob("unfinished-*"):
        shutil.rmtree(left)
    space = Workspace(output, folder, folder / CONTENT, folder / f"unfinished-{secrets.token_hex(4)}")
    for needed in (
        space.unfinished,
        space.dataset / build_layout.IMAGES,
        (space.dataset / build_layout.INSTANCES).parent,
    ):
        needed.mkdir(parents=True, exist_ok=True)
    return space


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {error}; --restart starts over") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected the description of a build, found none; --restart starts over")
    return content


def _is_begun(space: Workspace) -> bool:
    """Whether any source is rendered, so that there is something to keep, or the build is complete."""
    with contextlib.suppress(OSError):
        return space.journal.stat().st_size > 0
    return not space.folder.exists()


def _advice(space: Workspace, remedy: str = "") -> str:
    try:
        with space.journal.open("rb") as journal:
            # A full disk may have cut the last line.
            done = sum(line.endswith(b"\n") for line in journal)
    except OSError:
        done = 0
    if not done:
        return ""
    sources = "1 source image is" if done == 1 else f"{done:,} source images are"
    return f"{sources} rendered and kept in {space.folder}; {remedy or 'give the same command again to resume'}"


def _with_advice(error: DataError, space: Workspace) -> DataError:
    """The error, with advice on what is kept, unless it has its own."""
    error.advice = _advice(space, error.advice) or error.advice
    return error
