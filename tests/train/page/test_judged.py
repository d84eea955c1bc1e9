"""Each image's mistakes, and which image is the worst."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from datasets.results import write
from tests.train.page.made_run import DETECTIONS, results, write_data
from train.page import gallery
from train.page.judged import Judged, judge
from train.page.measured import Files, Measured, measure


@pytest.fixture
def found(tmp_path: Path) -> Measured:
    data = write_data(tmp_path / "data")
    write(tmp_path / "found.json", results(DETECTIONS))
    return measure(Files(tmp_path / "found.json", data.annotations, data.images), [1, 3])


@pytest.fixture
def judgement(found: Measured) -> Judged:
    return judge(found)


def test_every_detection_has_its_kind(judgement: Judged) -> None:
    first, second = judgement.images
    assert (first.image.id, second.image.id) == (5, 8)
    assert [(item.score, item.kind) for item in first.detections] == [(0.8, "Loc"), (0.7, "Bkg"), (0.5, None)]
    assert [(item.score, item.kind) for item in second.detections] == [(0.6, "Cls")]
    # Of the larger one first.
    assert [item.id for item in first.missed] == [2, 3]
    assert [item.id for item in second.missed] == [4]


def test_the_worst_image_comes_first(judgement: Judged) -> None:
    # Scores of false alarms, and sides of missed objects in parts of the image's.
    assert [item.badness for item in judgement.images] == pytest.approx([0.8 + 0.7 + 0.4 + 0.2, 0.6 + 0.3])


def test_labels_that_detections_contradict(judgement: Judged) -> None:
    # Nothing is annotated there; the fourth annotation has another category. The badly placed one doubts nothing.
    assert [(item.image_id, item.detection, item.annotation) for item in judgement.suspects] == [
        (5, 1, None),
        (8, 2, 3),
    ]


def test_detections_of_low_scores_doubt_no_label(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    write(tmp_path / "found.json", results([(*row[:2], row[2] / 2, row[3]) for row in DETECTIONS]))
    assert judge(measure(Files(tmp_path / "found.json", data.annotations, None), [1, 3])).suspects == []


def test_pictures_say_what_is_wrong(found: Measured, judgement: Judged) -> None:
    shown = gallery.galleries(found, judgement)
    first, second = shown.worst.items
    assert first.lines == [
        "badly placed: <script>alert(1)</script> 0.80",
        "background: car 0.70",
        "missed: <script>alert(1)</script> and 1 more",
    ]
    assert first.words == {"kind": "Loc Bkg Miss", "category": "c1 c3"}
    assert second.words == {"kind": "Cls Miss", "category": "c3 c1"}
    assert [(choice.key, [word for word, _ in choice.values]) for choice in shown.worst.choices] == [
        ("kind", ["Cls", "Loc", "Bkg", "Miss"]),
        ("category", ["c1", "c3"]),
    ]
    text = str(first.picture)
    assert [text.count(f'"shape {kind}"') for kind in ("truth", "predicted", "wrong", "missed")] == [1, 1, 2, 2]
    # The missed car is 20 px wide; no box has room for a name of 25 letters, nor one of 15 px for `car 0.70`.
    assert re.findall(r'<text class="label"[^>]*>([^<]*)<', text) == ["car", "0.80", "0.70"]
    assert [item.lines for item in shown.suspect.items] == [
        ["car 0.70, where nothing is annotated"],
        ["car 0.60, where <script>alert(1)</script> is annotated"],
    ]
    assert (shown.labels, shown.worst.unreadable) == (2, 0)


def test_many_alike_are_one_line(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    rows = [(5, 3, score, (0, y, 9, 9)) for score, y in ((0.9, 70), (0.8, 80), (0.7, 90))]
    write(tmp_path / "found.json", results([*rows, *DETECTIONS]))
    found = measure(Files(tmp_path / "found.json", data.annotations, data.images), [1, 3])
    shown = gallery.galleries(found, judge(found))
    assert shown.suspect.items[0].lines == ["car 0.90 and 3 more, where nothing is annotated"]


def test_files_that_cannot_be_shown_say_why(found: Measured, judgement: Judged, tmp_path: Path) -> None:
    (tmp_path / "data" / "images" / "one.png").unlink()
    (tmp_path / "data" / "images" / "<script>.png").write_bytes(b"no image")
    shown = gallery.galleries(found, judgement)
    assert [(item.picture, item.reason.partition(",")[0]) for item in shown.worst.items] == [
        (None, "expected an image file"),
        (None, "expected a JPEG or PNG file"),
    ]
    assert shown.worst.unreadable == 2
    nowhere = found._replace(files=found.files._replace(images=None))
    assert gallery.galleries(nowhere, judgement).worst.items[0].reason == "the folder of the images is not known"
