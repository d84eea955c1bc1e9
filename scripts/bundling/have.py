"""Packages of the target machine: parsed from --have, compared with requirements."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import click
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from datasets.errors import DataError

Have = dict[str, Version | None]  # canonical name: version, or None where it is trusted to fit


def read_have(values: Iterable[str]) -> Have:
    """All --have values merged; later ones win. Raises click.BadParameter, DataError for a bad file.

    Each is a comma-separated list of NAME and NAME==VERSION, or the path, ending in .json or containing a slash, of a
    file made by `pip list --format json`.
    """
    have: Have = {}
    for value in values:
        have |= _from_file(Path(value)) if value.endswith(".json") or "/" in value else _from_list(value)
    return have


def _from_list(text: str) -> Have:
    have: Have = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, equals, version = (part.strip() for part in item.partition("=="))
        try:
            have[canonicalize_name(name, validate=True)] = Version(version) if equals else None
        except ValueError:  # InvalidName and InvalidVersion are both
            raise click.BadParameter(
                f"expected NAME, NAME==VERSION or a file of `pip list --format json`, found {item!r}",
                param_hint="--have",
            ) from None
    return have


def _from_file(path: Path) -> Have:
    try:
        rows = json.loads(path.read_bytes())
        named = {str(canonicalize_name(row["name"], validate=True)): str(row["version"]) for row in rows}
    except (ValueError, TypeError, KeyError):
        raise DataError(
            f"{path}: expected a list of {{name, version}}; make it on that machine with: "
            f"python3 -m pip list --format json > {path.name}"
        ) from None
    return {name: _version(text) for name, text in named.items()}


def _version(text: str) -> Version | None:
    """None for what is not a PEP 440 version: the package exists, and nothing more is known."""
    try:
        return Version(text)
    except InvalidVersion:
        return None


def public(version: Version) -> Version:
    """The public version: 2.11.0 for a build such as 2.11.0+cu130."""
    return Version(version.public)
