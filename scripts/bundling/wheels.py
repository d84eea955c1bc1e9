"""Wheel files: their names and the requirements in their METADATA."""

from __future__ import annotations

import email
import zipfile
from pathlib import Path

from packaging.requirements import Requirement
from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from datasets.errors import DataError

MAX_METADATA = 2**24  # bytes; the largest have some hundred kB


def arrived(folder: Path) -> dict[tuple[str, Version], Path]:
    """The wheels in a folder by canonical name and version. Raises DataError for other files."""
    return {wheel_name(path.name)[:2]: path for path in folder.iterdir()}


def wheel_name(file: str) -> tuple[str, Version, frozenset[Tag]]:
    """(canonical name, version, tags) of a wheel's file name. Raises DataError."""
    try:
        name, version, _, tags = parse_wheel_filename(file)
    except (InvalidWheelFilename, InvalidVersion) as error:
        raise DataError(f"{file!r}: not the name of a wheel: {error}") from None
    if "/" in file or "\\" in file or file.startswith("."):
        raise DataError(f"{file!r}: not the name of a wheel: it is a path")
    return name, version, tags


def wheel_requires(wheel: Path) -> list[Requirement]:
    """The requirements of a wheel's METADATA, with any markers. Raises DataError, or InvalidRequirement."""
    name, version, _ = wheel_name(wheel.name)
    try:
        with zipfile.ZipFile(wheel) as file:
            [info] = [
                member
                for member in file.infolist()
                if member.filename.count("/") == 1 and member.filename.endswith(".dist-info/METADATA")
            ]
            if info.file_size > MAX_METADATA:
                raise DataError(
                    f"{wheel.name}: its METADATA has {info.file_size} bytes, expected {MAX_METADATA} at most"
                )
            message = email.message_from_bytes(file.read(info))
        found = canonicalize_name(message["Name"] or ""), Version(message["Version"] or "")
    except (zipfile.BadZipFile, RuntimeError, ValueError) as error:
        raise DataError(f"{wheel.name}: its METADATA cannot be read: {error}; remove it from pip's cache") from None
    if found != (name, version):
        raise DataError(f"{wheel.name}: its METADATA is that of {found[0]} {found[1]}")
    return [Requirement(text) for text in message.get_all("Requires-Dist", [])]
