"""The layout of a build's folder, the dataset that `augment build` writes."""

from __future__ import annotations

from pathlib import Path

INSTANCES = "annotations/instances.json"
IMAGES = "images"
SOURCES = "sources.jsonl"
MANIFEST = "manifest.json"
SUMS = "SHA256SUMS"
REPORT = "report.html"
"""What `augment report` writes: no part of the dataset, so neither in SUMS nor a stranger to `verify`."""
METADATA = (INSTANCES, SOURCES, MANIFEST)
"""All files of the dataset but the images and SUMS, in the order of their lines in SUMS, after those of the images."""


def build_of(annotations: Path) -> Path | None:
    """The folder of the build that an annotation file is part of; None for any other file."""
    path = annotations.absolute()
    folder = path.parent.parent
    return folder if path == folder / INSTANCES and (folder / MANIFEST).is_file() else None
