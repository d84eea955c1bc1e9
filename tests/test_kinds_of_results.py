"""Every kind of fault that results files of other tools showed, and what becomes of it: one row a kind.

Two good models' results are made of the objects with noise; one of them is broken in the way that its source is known
for, and both are given to `ensemble fuse`, the broken one also to `datasets evaluate`. The rules behind it have their
tests in tests/datasets and tests/ensemble.
"""

# A row a line.
# ruff: noqa: E501

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import click
import numpy as np
import pytest

from datasets.__main__ import main as datasets
from ensemble.__main__ import main as ensemble
from tests.command_line import Ended, in_shell

WIDTH, HEIGHT = 640, 480
CATEGORIES = [{"id": id_, "name": name} for id_, name in ((1, "person"), (3, "car"), (18, "dog"), (44, "bottle"))]
Records = list[dict[str, Any]]


class Kind(NamedTuple):
    """`same`: the results are those of the good file; `noted`: fused, with a note; `refused`: until `way_out`."""

    name: str
    change: Callable[[Records], Any]
    outcome: Literal["same", "noted", "refused"]
    says: str = ""
    way_out: tuple[str, ...] = ()


def each(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Records], Records]:
    """With these keys in place of a record's own."""
    return lambda records: [{**record, **change(record)} for record in records]


def boxes(change: Callable[[float, float, float, float], Iterable[float]]) -> Callable[[Records], Records]:
    return each(lambda record: {"bbox": list(change(*record["bbox"]))})


def as_bytes(records: Records) -> bytes:
    return json.dumps(records).encode()


POSITIONS = {item["id"]: place for place, item in enumerate(CATEGORIES)}
NAMES = {item["id"]: item["name"] for item in CATEGORIES}

KINDS = [
    # Spellings that lose nothing.
    Kind("139.0 for 139", each(lambda record: {"image_id": float(record["image_id"])}), "same", "image id in another spelling"),
    Kind("numbers as text", each(lambda record: {"image_id": str(record["image_id"])}), "same", "image id in another spelling"),
    Kind("file names", each(lambda record: {"image_id": f"{record['image_id']:06d}.jpg"}), "same", "file name"),
    Kind("ultralytics: stems", each(lambda record: {"image_id": f"{record['image_id']:06d}"}), "same", "image"),
    Kind("names of no image", each(lambda record: {"image_id": f"{record['image_id']:06d}x.jpg"}), "refused", "000001x"),
    Kind("categories by name", each(lambda record: {"category_id": NAMES[record["category_id"]]}), "same", "name"),
    Kind("JSON lines", lambda records: "\n".join(map(json.dumps, records)).encode(), "same"),
    Kind("gzip", lambda records: gzip.compress(as_bytes(records)), "same"),
    # Numberings and units, which nobody may guess.
    Kind("categories by position from 0", each(lambda record: {"category_id": POSITIONS[record["category_id"]]}), "refused", "--category-ids", ("--category-ids", "a.json=contiguous0")),
    Kind("categories by position from 1", each(lambda record: {"category_id": POSITIONS[record["category_id"]] + 1}), "refused", "--category-ids", ("--category-ids", "a.json=contiguous1")),
    Kind("scores in percent", each(lambda record: {"score": record["score"] * 100}), "refused", "divide them by 100"),
    Kind("boxes as fractions", boxes(lambda x, y, w, h: (x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT)), "refused", "fractions"),
    Kind("mmdetection: masks that are none, no box", lambda records: [{"image_id": 1, "category_id": 1, "score": 0.5, "segmentation": {"size": [1, 1], "counts": "a"}} for _ in records], "refused", "$[0].bbox"),
    # What cannot be right, by where boxes lie and what they meet.
    Kind("boxes by their corners", boxes(lambda x, y, w, h: (x, y, x + w, y + h)), "refused", "look like x, y, x, y", ("--trust",)),
    Kind("boxes by their centres", boxes(lambda x, y, w, h: (x + w / 2, y + h / 2, w, h)), "refused", "look like centre x, centre y", ("--trust",)),
    Kind("boxes rows first", boxes(lambda x, y, w, h: (y, x, y + h, x + w)), "refused", "look like y, x, y, x", ("--trust",)),
    Kind("pictures of another list", each(lambda record: {"image_id": record["image_id"] % 40 + 1}), "refused", "meet", ("--trust",)),
    # What is odd.
    Kind("half of the pictures", lambda records: [record for record in records if record["image_id"] % 2], "noted", "20 of"),
    Kind("scores of another scale", each(lambda record: {"score": record["score"] * 1e-4}), "noted", "no score is above"),
    Kind("every detection twice", lambda records: [record for record in records for _ in range(2)], "noted", "exact duplicates"),
]  # fmt: skip


class Made(NamedTuple):
    folder: Path
    truth: dict[str, Any]

    def write(self, name: str, content: Any) -> Path:
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return path

    def detections(self, seed: int) -> Records:
        """The objects, each a few pixels off, as a good model would find them; one in six is not found."""
        noise = np.random.default_rng(seed)
        found = []
        for item in self.truth["annotations"]:
            box = np.array(item["bbox"]) + noise.normal(0, 0.04, 4) * np.tile(item["bbox"][2:], 2)
            score = round(float(noise.uniform(0.2, 0.99)), 4)
            if noise.random() > 1 / 6:
                kept = {key: item[key] for key in ("image_id", "category_id")}
                found.append({**kept, "bbox": box.round(2).tolist(), "score": score})
        return found


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """40 images with 8 objects each, well inside; the category follows the place, so that ids cannot be mixed up."""
    draw = np.random.default_rng(0)
    images = [{"id": id_, "file_name": f"{id_:06d}.jpg", "width": WIDTH, "height": HEIGHT} for id_ in range(1, 41)]
    objects: list[dict[str, Any]] = []
    for image in images:
        for _ in range(8):
            width, height = draw.uniform(30, 90, 2)
            x, y = draw.uniform(10, WIDTH - 10 - width), draw.uniform(10, HEIGHT - 10 - height)
            objects.append(
                {
                    "id": len(objects) + 1,
                    "image_id": image["id"],
                    "category_id": CATEGORIES[int(draw.integers(4))]["id"],
                    "bbox": [round(float(value), 2) for value in (x, y, width, height)],
                    "area": round(float(width * height), 2),
                    "iscrowd": 0,
                }
            )
    made = Made(tmp_path, {"images": images, "annotations": objects, "categories": CATEGORIES})
    made.write("truth.json", made.truth)
    made.write("b.json", made.detections(2))
    return made


class Run(Protocol):
    """run(stage, "fuse", *options): as a shell would, with the truth as --annotations."""

    def __call__(self, stage: click.Command, command: str, *options: str) -> Ended: ...


@pytest.fixture
def run(made: Made) -> Run:
    def run(stage: click.Command, command: str, *options: str) -> Ended:
        return in_shell(stage, "python", command, "--annotations", made.folder / "truth.json", *options)

    return run


def fuse(run: Run, made: Made, *options: str, names: Iterable[str] = ("a.json", "b.json")) -> Ended:
    files = [text for name in names for text in ("--results", str(made.folder / name))]
    return run(ensemble, "fuse", *files, "--output", str(made.folder / "fused.json"), *options)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_kind_of_fault_has_its_outcome(kind: Kind, made: Made, run: Run) -> None:
    fused = made.folder / "fused.json"
    good = made.detections(1)
    made.write("a.json", good)
    assert fuse(run, made).code == 0
    expected = fused.read_bytes()
    fused.unlink()
    made.write("a.json", kind.change(good))

    ended = fuse(run, made)

    if kind.outcome == "refused":
        assert ended.code == 1
        assert ended.err.startswith("error: ")
        assert kind.says in ended.err
        assert "a.json" in ended.err
        assert not fused.exists()
        if kind.way_out:
            assert fuse(run, made, *kind.way_out).code == 0
            assert (fused.read_bytes() == expected) == ("--category-ids" in kind.way_out)
        return
    assert ended.code == 0, ended.err
    assert kind.says in ended.out
    assert (fused.read_bytes() == expected) == (kind.outcome == "same")
    assert run(datasets, "evaluate", "--results", str(made.folder / "a.json")).code == 0


def test_good_results_are_fused_without_a_note(made: Made, run: Run) -> None:
    """What tells faults apart must not see one here."""
    made.write("a.json", made.detections(1))
    ended = fuse(run, made)
    assert (ended.code, ended.err) == (0, "")
    assert "note:" not in ended.out


def test_of_three_models_the_one_whose_categories_are_shifted_is_named(made: Made, run: Run) -> None:
    """A list whose first category is a placeholder, as some tools export it, and a model that numbers from 0."""
    made.truth["categories"] = [{"id": 0, "name": "all"}, *({"id": n + 1, "name": f"c{n}"} for n in range(4))]
    for item in made.truth["annotations"]:
        item["category_id"] = POSITIONS[item["category_id"]] + 1
    made.write("truth.json", made.truth)
    for name, seed, shift in (("a.json", 1, 0), ("b.json", 2, 0), ("c.json", 3, -1)):
        shifted = each(lambda record, shift=shift: {"category_id": record["category_id"] + shift})  # type: ignore[misc]
        made.write(name, shifted(made.detections(seed)))

    ended = fuse(run, made, names=("a.json", "b.json", "c.json"))

    assert ended.code == 1
    assert "c.json: " in ended.err
    assert "category ids look shifted by one" in ended.err
    assert fuse(run, made, "--trust", names=("a.json", "b.json", "c.json")).code == 0


def test_scores_of_which_nothing_would_be_left_are_no_empty_submission(made: Made, run: Run) -> None:
    made.write("a.json", each(lambda record: {"score": record["score"] * 1e-4})(made.detections(1)))
    ended = fuse(run, made, names=("a.json",))
    assert ended.code == 1
    assert "so that none would be left" in ended.err
    assert not (made.folder / "fused.json").exists()


def test_fractions_are_not_evaluated(made: Made, run: Run) -> None:
    change = boxes(lambda x, y, w, h: (x / WIDTH, y / HEIGHT, w / WIDTH, h / HEIGHT))
    made.write("a.json", change(made.detections(1)))
    ended = run(datasets, "evaluate", "--results", str(made.folder / "a.json"))
    assert ended.code == 1
    assert "fractions" in ended.err


@pytest.mark.parametrize(
    "change",
    [
        lambda truth: [image.pop("file_name") for image in truth["images"]],
        lambda truth: [image.update(file_name="") for image in truth["images"]],
        lambda truth: truth.update(licenses=None, info={"date_created": "x"}),
        lambda truth: (truth.pop("categories"), truth.pop("annotations")),
    ],
    ids=["LVIS: no file names", "mmdetection: empty file names", "licences of null", "a test list without categories"],
)
def test_lists_that_lack_what_fusing_does_not_need_are_read(
    change: Callable[[dict[str, Any]], Any], made: Made, run: Run
) -> None:
    made.write("a.json", made.detections(1))
    change(made.truth)
    made.write("truth.json", made.truth)
    ended = fuse(run, made)
    assert ended.code == 0, ended.err
