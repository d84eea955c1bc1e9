"""Licences of several inputs in one list: ids change where they must, and the images follow."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datasets.sources import Input, merge_licenses, read_inputs

Document = dict[str, Any]
License = dict[str, Any]
Lay = Callable[[str, Document], Input]


@pytest.fixture
def lay(tmp_path: Path) -> Lay:
    """lay(name, document): an annotation file, whose image folder is empty."""

    def lay(name: str, document: Document) -> Input:
        item = Input(tmp_path / f"{name}.json", tmp_path)
        item.annotations.write_text(json.dumps(document))
        return item

    return lay


def test_licences_are_merged_and_the_images_follow(document: Document, lay: Lay) -> None:
    first = lay("first", document)
    document["licenses"] = [{"id": 4, "name": "MIT"}, {"id": 5, "name": "CC BY 2.0"}]
    document["images"][1]["license"] = 5

    found = read_inputs([first, lay("second", document)])

    names = {entry["id"]: entry["name"] for entry in found.licenses}
    assert sorted(names.values()) == ["CC BY 2.0", "MIT"]
    shown = [None if source.image.license is None else names[source.image.license] for source in found.sources]
    assert shown == ["CC BY 2.0", None, "MIT", "CC BY 2.0"]


@pytest.mark.parametrize(
    ("first", "second", "merged", "renamed"),
    [
        ([], [{"id": 1, "name": "A"}], [{"id": 1, "name": "A"}], {}),
        ([{"id": 1, "name": "A"}], [{"id": 1, "name": "A"}], [{"id": 1, "name": "A"}], {}),
        ([{"id": 1, "name": "A"}], [{"id": 2, "name": "B"}], [{"id": 1, "name": "A"}, {"id": 2, "name": "B"}], {}),
        ([{"id": 1, "name": "A"}], [{"id": 7, "name": "A"}], [{"id": 1, "name": "A"}], {7: 1}),
        (
            [{"id": 1, "name": "A"}, {"id": 2, "name": "B"}],
            [{"id": 1, "name": "B"}, {"id": 2, "name": "C"}],
            [{"id": 1, "name": "A"}, {"id": 2, "name": "B"}, {"id": 3, "name": "C"}],
            {1: 2, 2: 2 + 1},
        ),
        ([{"id": 1, "name": "A"}], [{"id": 1, "name": "A", "url": "u"}], None, {1: 2}),
    ],
)
def test_a_licence_keeps_its_id_unless_another_has_it(
    first: list[License], second: list[License], merged: list[License] | None, renamed: dict[Any, Any]
) -> None:
    found: list[License] = []
    assert merge_licenses(found, first) == {}

    assert {old: new for old, new in merge_licenses(found, second).items() if old != new} == renamed
    assert merged is None or found == merged


def test_an_image_without_a_licence_gets_none_from_an_entry_without_an_id(document: Document, lay: Lay) -> None:
    first = lay("first", document)
    document["licenses"] = [{"name": "CC BY 2.0"}]
    del document["images"][0]["license"]

    found = read_inputs([first, lay("second", document)])

    assert [source.image.license for source in found.sources] == [4, None, None, None]


def test_a_licence_whose_id_is_a_text_keeps_its_images(document: Document, lay: Lay) -> None:
    inputs = []
    for name in ("first", "second"):
        document["licenses"] = [{"id": "cc", "name": f"CC BY of the {name}"}]
        document["images"][0]["license"] = "cc"
        inputs.append(lay(name, document))

    found = read_inputs(inputs)

    names = {entry["id"]: entry["name"] for entry in found.licenses if entry["id"] is not None}
    assert [names.get(source.image.license) for source in found.sources[::2]] == [
        "CC BY of the first",
        "CC BY of the second",
    ]


@pytest.mark.parametrize("odd", [[1], {"a": 1}, 1.5, True, None])
def test_a_licence_with_an_odd_id_does_no_harm(odd: Any, document: Document, lay: Lay) -> None:
    document["licenses"].append({"id": odd, "name": "odd"})

    assert len(read_inputs([lay("first", document)]).sources) == 2
