"""A folder to report on: annotations with a hostile category name, pictures, and the results of two models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from datasets.images import encode_jpeg
from ensemble import pipeline
from ensemble.pipeline import Fused, Images
from ensemble.recipe import Recipe
from tests.command_line import Ended
from tests.ensemble.files import CATEGORIES, SIZES, annotated, cli, predicted, write

HOSTILE = "<script>alert(1)</script>"


def named(content: dict[str, Any]) -> dict[str, Any]:
    """The first category with a name that would be a script."""
    return {**content, "categories": [{"id": CATEGORIES[0], "name": HOSTILE}, *content["categories"][1:]]}


def folder(path: Path) -> Path:
    """val.json, images/ and the results a_val.json and b_val.json."""
    write(path / "val.json", named(annotated()))
    for seed, name in enumerate("ab", start=1):
        write(path / f"{name}_val.json", predicted(seed))
    (path / "images").mkdir()
    for id_, (width, height) in SIZES.items():
        jpeg = encode_jpeg(np.full((height, width, 3), 90, dtype=np.uint8), 90)
        (path / "images" / f"{id_}.jpg").write_bytes(jpeg)
    return path


def report(path: Path, *options: object, names: tuple[str, ...] = ("a_val", "b_val")) -> Ended:
    """report of the results in the folder `path`, into page.html"""
    given = [part for name in names for part in ("--results", path / f"{name}.json")]
    return cli("report", "--annotations", path / "val.json", *given, "--output", path / "page.html", *options)


def fused(path: Path, chosen: Recipe, *, truth: str = "val.json") -> tuple[Images, list[Path], Fused]:
    images = pipeline.read_images(path / truth)
    paths = [path / "a_val.json", path / "b_val.json"]
    return images, paths, pipeline.run(pipeline.read_models(paths, images), images, chosen)
