"""The manifest: what a build was made of, without clocks and paths, and how two builds are told apart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from augment import recipe
from augment.compiler import manifest
from datasets import __version__, build_layout
from datasets.checks import Repairs
from datasets.errors import DataError
from datasets.sources import Input
from tests.protocols import Draw, Make


def identity_of(folder: Path) -> dict[str, Any]:
    """The part of a manifest that decides the bytes."""
    document = manifest.read(folder)
    return {key: value for key, value in document.items() if key not in ("sources_sha256", "counts", "repairs")}


def test_it_names_recipe_limit_inputs_and_versions(built: Callable[[str], Path], drawn: Input) -> None:
    document = manifest.read(built("expanded"))
    assert document["format"] == manifest.FORMAT
    assert document["scarcedet"] == __version__
    assert document["recipe"] == json.loads(msgspec.json.encode(recipe.load("expanded")))
    assert document["recipe"]["seed"] == 0
    assert document["limit"] is None
    (described,) = document["inputs"]
    assert described["annotations"] == "annotations.json"
    assert described["annotations_sha256"] == hashlib.sha256(drawn.annotations.read_bytes()).hexdigest()
    assert described["images"] == 8
    assert {"python", "numpy", "albumentations", "opencv-python-headless"} <= document["versions"].keys()
    assert "unknown" not in document["versions"].values()


def test_it_holds_no_path_and_no_clock(draw: Draw, make: Make, tmp_path: Path) -> None:
    for name in ("one", "two"):
        make(draw(tmp_path / name, only=(7,)), tmp_path / f"out-{name}")
    first, second = ((tmp_path / f"out-{name}" / build_layout.MANIFEST).read_bytes() for name in ("one", "two"))
    assert first == second
    assert str(tmp_path).encode() not in first


def test_whatever_decides_the_bytes_is_told_apart(draw: Draw, make: Make, tmp_path: Path) -> None:
    source = draw(tmp_path / "source", only=(7, 12))
    seeded = msgspec.structs.replace(recipe.load("expanded"), seed=1)
    other_pixels = draw(tmp_path / "pixels", only=(7, 12))
    (other_pixels.images / "tall.jpg").write_bytes((source.images / "tall.jpg").read_bytes() + b"\0")
    other_labels = draw(tmp_path / "labels", only=(7, 12), masks=False)
    requests: list[tuple[Input, Any, dict[str, Any]]] = [
        (source, "expanded", {}),
        (source, "balanced", {}),
        (source, seeded, {}),
        (source, "expanded", {"limit": 1}),
        (source, "expanded", {"limit": 2}),
        (other_pixels, "expanded", {}),
        (other_labels, "expanded", {}),
    ]
    found = []
    for number, (inputs, chosen, more) in enumerate(requests):
        make(inputs, tmp_path / str(number), chosen, **more)
        found.append(json.dumps(identity_of(tmp_path / str(number))))
    assert len(set(found)) == len(requests)


def test_it_names_the_digest_of_the_sources_which_tells_no_builds_apart(built: Callable[[str], Path]) -> None:
    document = manifest.read(built("expanded"))
    lines = (built("expanded") / "sources.jsonl").read_bytes()
    assert document["sources_sha256"] == hashlib.sha256(lines).hexdigest()
    assert manifest.differences(identity_of(built("expanded")), {**document, "sources_sha256": "0" * 64}) == []


def test_an_input_s_images_have_one_digest_as_sha256sum_would_list_them(
    built: Callable[[str], Path], drawn: Input
) -> None:
    names = [item["file_name"] for item in json.loads(drawn.annotations.read_bytes())["images"]]
    lines = [f"{hashlib.sha256((drawn.images / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (described,) = manifest.read(built("expanded"))["inputs"]
    assert described["images_sha256"] == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_differences_name_the_place_and_both_values() -> None:
    wanted = {"recipe": {"seed": 0, "fraction": (0.6, 0.8)}, "limit": None, "inputs": [{"images": 2}]}
    found = {"recipe": {"seed": 1, "fraction": [0.6, 0.8]}, "limit": None, "inputs": [{"images": 3, "more": 1}], "x": 1}
    assert manifest.differences(wanted, found) == [
        "recipe.seed: expected 0, found 1",
        "inputs[0].images: expected 2, found 3",
        "inputs[0].more: expected None, found 1",
    ]
    assert manifest.differences(wanted, json.loads(json.dumps(wanted))) == []
    assert manifest.differences({"inputs": [1, 2]}, {"inputs": [1]}) == ["inputs: expected [1, 2], found [1]"]
    assert manifest.differences({"seed": 0}, {}) == ["seed: expected 0, found None"]


def test_repairs_are_counted_and_listed() -> None:
    repairs = Repairs()
    for place in ("$.annotations[3]", "$.annotations[9]"):
        repairs.add("area missing", place)
    assert manifest.complete({"format": 2}, "5" * 64, {"images": 2}, repairs) == {
        "format": 2,
        "sources_sha256": "5" * 64,
        "counts": {"images": 2},
        "repairs": {"area missing": {"count": 2, "places": ["$.annotations[3]", "$.annotations[9]"]}},
    }


def test_what_is_written_is_read(tmp_path: Path) -> None:
    document = {"format": manifest.FORMAT, "inputs": [{"annotations": "größe.json"}]}
    manifest.write(tmp_path, document)
    assert manifest.read(tmp_path) == document
    assert "größe".encode() in (tmp_path / build_layout.MANIFEST).read_bytes()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "expected the manifest of a finished build, found none"),
        (b"", "cannot be read"),
        (b"{", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        (b"[]", "expected a manifest of format 2, found another"),
        (b'{"format": 3}', "expected a manifest of format 2, found another"),
        (b'{"format": 1}', "expected a manifest of format 2, found format 1.*; build it again, into a new folder"),
        (b"{}", "expected a manifest of format 2, found another"),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path: Path, content: bytes | None, expected: str) -> None:
    if content is not None:
        (tmp_path / build_layout.MANIFEST).write_bytes(content)
    with pytest.raises(DataError, match=f"manifest.json: .*{expected}"):
        manifest.read(tmp_path)
