"""What stands beside results: read back, or nothing where it speaks of others, or an error where it is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from datasets import coco, provenance
from datasets.build_layout import SOURCES
from datasets.digests import sha256_file
from datasets.errors import DataError
from datasets.provenance import DeclaredTraining, MadeBy, Provenance, ResultsProvenance
from datasets.sources import Input

MADE_BY = MadeBy(checkpoint="runs/a/model_best.pth", sha256="0" * 64, model="r50", epoch=54.0, from_scratch=True)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    path = tmp_path / "r50_val.json"
    path.write_text("[]", encoding="utf-8")
    return path


def of(results: Path, *seen: int, complete: bool = True) -> Provenance:
    return Provenance(
        results_sha256=sha256_file(results), models=(MADE_BY,), images=20, seen_in_training=seen, complete=complete
    )


def test_it_stands_beside_the_results(results: Path) -> None:
    provenance.write(results, of(results, 3, 7))
    assert sorted(path.name for path in results.parent.iterdir()) == ["r50_val.json", "r50_val.provenance.json"]
    assert provenance.read(results) == ResultsProvenance(of(results, 3, 7), frozenset({3, 7}))
    provenance.remove(results)
    provenance.remove(results)
    assert [path.name for path in results.parent.iterdir()] == ["r50_val.json"]


def test_results_without_it_are_not_known(results: Path) -> None:
    assert provenance.read(results) == ResultsProvenance(doubt="no r50_val.provenance.json")
    # A user who names the training data knows.
    assert provenance.read(results, DeclaredTraining(frozenset({5}))) == ResultsProvenance(seen=frozenset({5}))
    assert provenance.read(results, DeclaredTraining()) == ResultsProvenance()


def test_of_other_results_it_says_nothing(results: Path) -> None:
    provenance.write(results, of(results, 3))
    results.write_text("[ ]", encoding="utf-8")
    assert provenance.read(results) == ResultsProvenance(doubt="r50_val.provenance.json describes other results")
    assert provenance.read(results, DeclaredTraining(frozenset({5}))) == ResultsProvenance(seen=frozenset({5}))


def test_where_a_part_of_the_training_is_not_on_record_there_is_a_doubt(results: Path) -> None:
    provenance.write(results, of(results, 3, complete=False))
    known = provenance.read(results)
    assert (set(known.seen), known.doubt) == ({3}, "part of its training is not on record")
    known = provenance.read(results, DeclaredTraining(frozenset({5})))
    assert (set(known.seen), known.doubt) == ({3, 5}, "")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 2}', "\xff"])
def test_a_damaged_one_is_an_error(text: str, results: Path) -> None:
    provenance.path_of(results).write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"r50_val\.provenance\.json: expected what `python -m train predict` writes"):
        provenance.read(results)


def test_unknown_keys_are_refused(results: Path) -> None:
    more = {**msgspec.to_builtins(of(results)), "more": 1}
    provenance.path_of(results).write_bytes(msgspec.json.encode(more))
    with pytest.raises(DataError, match="unknown field `more`"):
        provenance.read(results)


def test_what_is_made_of_several_has_seen_what_any_of_them_has(results: Path) -> None:
    one, other = (
        ResultsProvenance(of(results, 3, 7), frozenset({3, 7})),
        ResultsProvenance(of(results, 5), frozenset({5})),
    )
    assert provenance.joined(sha256_file(results), 20, [one, other]) == Provenance(
        results_sha256=sha256_file(results),
        models=(MADE_BY, MADE_BY),
        images=20,
        seen_in_training=(3, 5, 7),
        complete=True,
    )
    assert not provenance.joined(
        sha256_file(results), 20, [one, ResultsProvenance(doubt="no b.provenance.json")]
    ).complete


def test_doubts_are_one_line(results: Path) -> None:
    known = [(results, provenance.read(results)), (Path("b.json"), ResultsProvenance())]
    assert provenance.notes(known) == [
        "seen in training or not is unknown (r50_val.json: no r50_val.provenance.json); --trained-on names the data"
    ]
    assert provenance.notes(known[1:]) == []


def test_categories_that_a_model_does_not_know_are_counted(results: Path) -> None:
    model = msgspec.structs.replace(MADE_BY, not_trained_on=("dog", "toothbrush"))
    provenance.write(results, msgspec.structs.replace(of(results), models=(model,)))
    assert provenance.notes([(results, provenance.read(results))]) == [
        "r50_val.json: 2 categories were not trained on; they count with what was not found"
    ]


def test_what_the_user_tells_is_compared_by_file_where_there_are_files(drawn: Input, tmp_path: Path) -> None:
    images = coco.read_images(drawn.annotations).images
    line = {"input": 0, "id": 99, "file_name": "x.jpg", "sha256": sha256_file(drawn.images / "tall.jpg")}
    (tmp_path / SOURCES).write_text(json.dumps(line) + "\n", encoding="utf-8")
    assert provenance.declared_training([], images, drawn.images) is None
    assert provenance.declared_training([tmp_path], images, drawn.images) == DeclaredTraining(frozenset({7}))
    # By its name alone it is another image, and that nobody looked at the files is said.
    assert provenance.declared_training([tmp_path], images, None) == DeclaredTraining(
        doubt="compared by name only, for want of --images"
    )
    assert provenance.declared_training([drawn.annotations], images, None) == DeclaredTraining(
        frozenset(image.id for image in images)
    )
