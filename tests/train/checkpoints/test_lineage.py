"""Where weights come from: down to random numbers, or to whatever else, and no file can talk its way around it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from train.checkpoints import lineage
from train.checkpoints.checkpoint import Loaded

CONFIG = "SEED: 0\n"
DATA = {
    "annotations": "instances.json",
    "annotations_sha256": "a" * 64,
    "manifest_sha256": "b" * 64,
    "images": 360,
    "categories": [[1, "disc"], [2, "ring"]],
    "left_out": [[3, "cross"]],
}


def loaded(line: Any, file: str = "model_best.pth", **more: Any) -> Loaded:
    content = {
        "model": {},
        "name": "tiny",
        "iteration": 990,
        "epoch": 5.5,
        "config": CONFIG,
        "data": DATA,
        "code": ["scarcedet 0.1.0, torch 2"],
        "lineage": line,
        **more,
    }
    return Loaded(Path("runs") / file, content, hashlib.sha256(file.encode()).hexdigest())


ROOT = lineage.root(7)
FOREIGN = lineage.third_party(Path("/zoo/R-50.pkl"), "c" * 64)


def test_random_weights_are_from_scratch() -> None:
    assert lineage.doubts("a.pth", ROOT) == []
    assert not lineage.is_pretrained(ROOT)


def test_descendants_of_random_weights_are_too() -> None:
    child = lineage.descent(loaded(ROOT, "parent.pth"))
    average = lineage.average([loaded(child, f"model_epoch_000{at}.pth") for at in (1, 2, 3)])
    for line in (child, average):
        assert lineage.doubts("a.pth", line) == []
        assert line["pretrained"] is False


def test_one_foreign_ancestor_is_enough() -> None:
    third_party = lineage.descent(loaded(FOREIGN, "foreign child.pth"))
    line = lineage.average([loaded(third_party, "theirs.pth")])
    assert line["pretrained"] is True
    assert [str(doubt) for doubt in lineage.doubts("a.pth", line)] == [
        "foreign child.pth starts from R-50.pkl, which was trained elsewhere"
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (None, "a.pth does not say where its weights come from"),
        ("random weights", "a.pth does not say where its weights come from"),
        ({}, "a.pth does not say from what"),
        (
            {"pretrained": None, "from": "random weights"},
            "a.pth starts from random weights, which was trained elsewhere",
        ),
        ({"pretrained": False, "from": "R-50.pkl"}, "a.pth starts from R-50.pkl, which was trained elsewhere"),
        ({"pretrained": False, "from": "checkpoint", "parents": []}, "a.pth starts from checkpoint, which"),
        ({"pretrained": False, "from": "checkpoint", "parents": [7]}, "an ancestor does not say where"),
        ({"pretrained": False, "from": "checkpoint", "parents": [{"file": "b.pth"}]}, "b.pth does not say where"),
        (
            {"pretrained": True, "from": "checkpoint", "parents": [{"file": "b.pth", "lineage": ROOT}]},
            "a.pth is marked as going back to pre-trained weights",
        ),
    ],
)
def test_what_does_not_say_so_is_not_from_scratch(line: Any, expected: str) -> None:
    (doubt,) = lineage.doubts("a.pth", line)
    assert str(doubt).startswith(expected)
    described = lineage.describe(loaded(line, "a.pth"))
    assert described[-2:] == ["from scratch: no", f"  {doubt}"]


def test_a_line_that_unfolds_without_end_is_cut_short() -> None:
    """Sixty levels of two names for the same thing each: 2 ** 60 ancestors in a few bytes."""
    line: dict[str, Any] = ROOT
    for _ in range(60):
        line = {"pretrained": False, "from": "average", "parents": [{"lineage": line}, {"lineage": line}]}
    (doubt,) = lineage.doubts("a.pth", line)
    assert doubt.reason == "names more than 500 ancestors or 100 generations of them"
    assert lineage.describe(loaded(line))[-2] == "from scratch: no"
    assert lineage.document(loaded(line))["from_scratch"] is False


def test_as_many_ancestors_as_are_allowed() -> None:
    line: dict[str, Any] = ROOT
    for _ in range(lineage.MAX_GENERATIONS - 1):
        line = {"pretrained": False, "from": "checkpoint", "parents": [{"lineage": line}]}
    assert lineage.doubts("a.pth", line) == []
    line = {"pretrained": False, "from": "checkpoint", "parents": [{"lineage": line}]}
    assert len(lineage.doubts("a.pth", line)) == 1


def test_averages_of_averages_do_not_multiply_their_ancestors() -> None:
    line = ROOT
    for _ in range(10):
        line = lineage.average([loaded(lineage.descent(loaded(line)), f"model_epoch_{at}.pth") for at in range(56)])
    assert lineage.doubts("a.pth", line) == []
    shown = lineage.describe(loaded(line))
    assert shown[-1] == "from scratch: yes"
    assert sum("the average of" in text for text in shown) == 10
    assert sum("  model_epoch_7.pth, sha256 " in text for text in shown) == 10


def test_lineages_of_the_first_version_are_understood() -> None:
    old = {"pretrained": False, "from": "model_best.pth", "sha256": "d" * 64, "parent": ROOT}
    assert lineage.doubts("a.pth", old) == []
    assert "    model_best.pth" in lineage.describe(loaded(old))
    old = {"pretrained": True, "from": "model_best.pth", "sha256": "d" * 64, "parent": FOREIGN}
    (doubt,) = lineage.doubts("a.pth", old)
    assert str(doubt) == "model_best.pth starts from R-50.pkl, which was trained elsewhere"


def test_what_people_are_shown() -> None:
    child = lineage.descent(loaded(ROOT, "parent.pth", name="tiny", epoch=4.0))
    ours, theirs = (hashlib.sha256(name.encode()).hexdigest() for name in ("child.pth", "parent.pth"))
    config = hashlib.sha256(CONFIG.encode()).hexdigest()
    data = f"data instances.json: 360 images, 2 categories, 1 left out, manifest sha256 {'b' * 64}"
    assert lineage.describe(loaded(child, "child.pth")) == [
        "runs/child.pth",
        f"  sha256 {ours}",
        "  tiny, iteration 990, epoch 5.50",
        f"  {data}",
        f"  config sha256 {config}",
        "  code scarcedet 0.1.0, torch 2",
        "  started from",
        "    parent.pth",
        f"      sha256 {theirs}",
        "      tiny, iteration 990, epoch 4.00",
        f"      {data}",
        f"      config sha256 {config}",
        "      code scarcedet 0.1.0, torch 2",
        "      started from random weights, seed 7",
        "from scratch: yes",
    ]


def test_a_parent_s_weights_are_not_kept_with_it() -> None:
    (parent,) = lineage.descent(loaded(ROOT))["parents"]
    assert parent.keys() == {"file", "sha256", "name", "iteration", "epoch", "config", "data", "code", "lineage"}


def test_the_code_s_version_names_the_commit_of_a_checkout() -> None:
    import subprocess

    import torch

    from datasets import __version__

    found = lineage.code_version()
    assert found.startswith(f"scarcedet {__version__}")
    assert found.endswith(f", torch {torch.__version__}")
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if head.returncode == 0:
        assert f"(commit {head.stdout.strip()}" in found
