"""Validation of a build's output folder."""

from __future__ import annotations

from pathlib import Path

from datasets.build_layout import MANIFEST
from datasets.errors import DataError
from datasets.sources import Input


def check_output(output: Path, inputs: list[Input]) -> Path:
    """The absolute path of an output that may be written: new, empty, or a finished build.

    Raises DataError for a folder inside an input, around one, with other content, or that is a mount point.
    """
    output = output.resolve()
    for item in inputs:
        folder = item.images.resolve()
        if output == folder or folder in output.parents:
            raise DataError(f"{output}: expected an output outside the inputs, found it in the image folder {folder}")
        for path in (folder, item.annotations.resolve()):
            if output in path.parents:
                raise DataError(f"{output}: expected an output without inputs in it, found {path}")
    if output.exists() and not output.is_dir():
        raise DataError(f"{output}: expected a folder or nothing, found a file")
    if output.is_mount():
        raise DataError(f"{output}: a build appears by renaming, which a mount point forbids; name a folder inside it")
    if output.is_dir() and not (output / MANIFEST).is_file():
        content = sorted(path.name for path in output.iterdir())
        if content:
            shown = ", ".join(content[:5]) + (f" and {len(content) - 5} more" if len(content) > 5 else "")
            raise DataError(f"{output}: expected an empty folder or a finished build, found {shown}")
    return output
