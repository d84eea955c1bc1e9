"""The manifest: everything that determines the output bytes of a build, and what came out."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

import msgspec

from augment.compiler.inputs import Prepared
from datasets import __version__
from datasets.build_layout import MANIFEST
from datasets.checks import Repairs
from datasets.errors import DataError
from datasets.source_digests import SourceDigest

# Format 1 had no sources.jsonl.
FORMAT = 2

LIBRARIES = ("albucore", "albumentations", "msgspec", "numpy", "opencv-python-headless", "pycocotools", "scipy")


def identity(prepared: Prepared, limit: int | None, image_digests: list[str] | None = None) -> dict[str, Any]:
    """Everything that determines a build's bytes: recipe, seed, versions, digests of the inputs. No clock, no path.

    `image_digests` has one SHA-256 per input, over the lines `digest file_name` of its images (see `ImageDigests`); it
    is left out before the images are read.
    """
    inputs = prepared.inputs
    return {
        "format": FORMAT,
        "scarcedet": __version__,
        "recipe": msgspec.to_builtins(prepared.recipe),
        "limit": limit,
        "inputs": [_input(prepared, index, image_digests) for index in range(len(inputs.inputs))],
        # Only where something is taken from other pictures, so that other builds keep their bytes.
        **({} if prepared.donors is None else {"donors_sha256": prepared.donors.sha256()}),
        "versions": versions(),
    }


def _input(prepared: Prepared, index: int, image_digests: list[str] | None) -> dict[str, Any]:
    inputs = prepared.inputs
    known: dict[str, Any] = {
        "annotations": inputs.inputs[index].annotations.name,
        "annotations_sha256": inputs.sha256[index],
        "images": sum(source.input == index for source in prepared.sources),
        # Only options in effect, so that other builds keep their bytes.
        **prepared.leniency.decided(),
    }
    if image_digests is not None:
        known["images_sha256"] = image_digests[index]
    skipped = [item for item in inputs.skipped if item.input == index]
    if skipped:
        known["skipped"] = [{"id": item.id, "file_name": item.file_name, "why": item.why} for item in skipped]
    return known


def versions() -> dict[str, str]:
    """The versions of everything outside this project that may change the bytes of images or JSON."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"python": python, **{name: _version(name) for name in LIBRARIES}}


class ImageDigests:
    """One SHA-256 per input over all its images, added in the order of the sources."""

    def __init__(self, inputs: int) -> None:
        self._hashes = [hashlib.sha256() for _ in range(inputs)]

    def add(self, line: SourceDigest) -> None:
        self._hashes[line.input].update(f"{line.source_sha256}  {line.file_name}\n".encode())

    def hex(self) -> list[str]:
        return [item.hexdigest() for item in self._hashes]


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def sum_line(digest: str, name: str) -> str:
    """A line of SHA256SUMS as `sha256sum -c` reads it; `name` is relative to the dataset's folder."""
    return f"{digest}  {name}\n"


def complete(identity: dict[str, Any], sources_sha256: str, counts: dict[str, Any], repairs: Repairs) -> dict[str, Any]:
    """The manifest: identity, digest of sources.jsonl, counts and repairs."""
    mended = {kind: {"count": len(places), "places": places} for kind, places in sorted(repairs.places.items())}
    return {**identity, "sources_sha256": sources_sha256, "counts": counts, "repairs": mended}


def write(folder: Path, manifest: dict[str, Any]) -> None:
    text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / MANIFEST).write_text(f"{text}\n", encoding="utf-8")


def read(folder: Path) -> dict[str, Any]:
    """The manifest of a finished build. Raises DataError where there is none that this version can read."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path}: expected the manifest of a finished build, found none") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: the manifest cannot be read: {error}") from None
    found_format = manifest.get("format") if isinstance(manifest, dict) else None
    if found_format == 1:
        raise DataError(
            f"{path}: expected a manifest of format {FORMAT}, found format 1: an earlier version made this build, "
            "without sources.jsonl; build it again, into a new folder (this one stays as it is)"
        )
    if found_format != FORMAT:
        raise DataError(f"{path}: expected a manifest of format {FORMAT}, found another")
    return dict(manifest)


def differences(wanted: dict[str, Any], found: Any) -> list[str]:
    """The differences between two builds, a line each; empty for the same build."""
    return list(_differences(wanted, {key: found.get(key) for key in wanted} if isinstance(found, dict) else found, ""))


def _differences(wanted: Any, found: Any, path: str) -> list[str]:
    if isinstance(wanted, dict) and isinstance(found, dict):
        keys = [*wanted, *(key for key in found if key not in wanted)]
        return [
            line for key in keys for line in _differences(wanted.get(key), found.get(key), f"{path}.{key}".lstrip("."))
        ]
    if isinstance(wanted, (list, tuple)) and isinstance(found, (list, tuple)) and len(wanted) == len(found):
        pairs = enumerate(zip(wanted, found, strict=True))
        return [line for index, (ours, theirs) in pairs for line in _differences(ours, theirs, f"{path}[{index}]")]
    return [] if wanted == found else [f"{path}: expected {wanted!r}, found {found!r}"]
