"""scripts/experiments: what arms' YAML files come to with each kind of settings, those of the ladder before all."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from datasets.errors import DataError
from datasets.yaml_files import shipped
from scripts.experiments.arms import (
    RECIPES,
    Arm,
    Composed,
    Predict,
    Settings,
    base_of,
    compose,
    find_settings,
    load_arms,
    merged,
)
from scripts.experiments.timing import in_epochs, timed
from scripts.ladder.ladder import RUNGS, SETTINGS, SETTINGS_OF
from train import config
from train.run.schedule import derive, iterations

NAMES = ["bn", "gn", "balanced", "scratch", "expanded", "deeper", "cascade", "soft-nms", "tta", "fusion"]
BOX_HEAD = {f"MODEL.ROI_BOX_HEAD.{key}" for key in ("NUM_CONV", "NUM_FC", "NORM")}
NORMS = {f"MODEL.{key}.NORM" for key in ("RESNETS", "FPN", "ROI_MASK_HEAD")}
ZERO_INIT = "MODEL.RESNETS.ZERO_INIT_LAST_NORM"
# Rung -> the keys that it changes, wherever it is run.
CHANGED = {
    "gn": NORMS,
    "balanced": set[str](),
    "scratch": {ZERO_INIT, *BOX_HEAD},
    "expanded": set[str](),
    "deeper": {"MODEL.RESNETS.DEPTH"},
    "cascade": {"MODEL.ROI_HEADS.NAME", "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG", "MODEL.RPN.POST_NMS_TOPK_TRAIN"},
    "soft-nms": set[str](),
    "tta": set[str](),
    "fusion": set[str](),
}


def composed(settings: str) -> list[Composed]:
    found = find_settings(settings, SETTINGS)
    return compose(load_arms(RUNGS), found, base_of(found))


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


@pytest.mark.parametrize("settings", ["sample", "small", "paper"])
def test_a_rung_changes_the_keys_that_it_states_and_no_other(settings: str) -> None:
    rungs = composed(settings)
    assert [rung.name for rung in rungs] == NAMES
    for before, rung in pairwise(rungs):
        old, new = flat(before.config), flat(rung.config)
        found = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
        # Basic blocks have 64 outputs in res2, bottleneck blocks 256.
        widths = {"MODEL.RESNETS.RES2_OUT_CHANNELS"} if (settings, rung.name) == ("small", "deeper") else set()
        assert found == CHANGED[rung.name] | widths, rung.name


@pytest.mark.parametrize("settings", ["sample", "small", "paper"])
def test_data_prediction_and_fusion_of_each_rung(settings: str) -> None:
    rungs = {rung.name: rung for rung in composed(settings)}
    data = {"bn": "original", "gn": "original", "balanced": "balanced", "scratch": "original"}
    found = {name: rung.recipe.name if rung.recipe else "original" for name, rung in rungs.items()}
    assert found == {name: data.get(name, "expanded") for name in NAMES}
    assert [name for name in NAMES if not rungs[name].trains] == ["soft-nms", "tta", "fusion"]
    assert [name for name in NAMES if rungs[name].raw] == ["soft-nms", "tta", "fusion"]
    assert [name for name in NAMES if rungs[name].tta] == ["tta", "fusion"]
    assert rungs["fusion"].arm.fuse == ("expanded", "deeper", "cascade")
    suppress = {"method": "soft_nms", "class_agnostic": True}
    assert rungs["tta"].ensemble == {"suppress": suppress}
    assert rungs["fusion"].ensemble == {"suppress": suppress, "fuse": {"method": "wbf"}}


def written(rung: Composed, folder: Path) -> Any:
    """The configuration as train reads it from the composed file, under the project's own schedule."""
    path = folder / f"{rung.folder}.yaml"
    path.write_text(yaml.safe_dump({"VERSION": 2, "MODEL": rung.config["MODEL"]}), encoding="utf-8")
    return config.load(str(path), "paper")


@pytest.mark.parametrize(
    ("rung", "model"),
    [("bn", "r50-bn"), ("gn", "r50-gn"), ("scratch", "r50"), ("deeper", "r101"), ("cascade", "r101-cascade")],
)
def test_the_papers_rungs_are_the_models_that_ship(rung: str, model: str, tmp_path: Path) -> None:
    found = written({item.name: item for item in composed("paper")}[rung], tmp_path)
    assert config.flat(found) == config.flat(config.load(model, "paper"))


@pytest.mark.parametrize("settings", ["sample", "small", "paper"])
def test_train_takes_every_composed_configuration(settings: str, tmp_path: Path) -> None:
    for rung in composed(settings):
        path = tmp_path / f"{rung.folder}.yaml"
        path.write_text(yaml.safe_dump(timed(rung.config, rung.iterations, 337)), encoding="utf-8")
        resnets = config.load(str(path), str(path)).MODEL.RESNETS
        assert resnets["RES2_OUT_CHANNELS"] == (64 if resnets["DEPTH"] in (18, 34) else 256)


def test_all_rungs_are_trained_for_as_long_but_for_those_that_the_paper_trained_longer() -> None:
    assert len({rung.iterations for rung in composed("sample")}) == 1
    assert len({rung.iterations for rung in composed("small")}) == 1
    found = {rung.name: rung.iterations for rung in composed("paper")}
    # As many as the paper's 56 epochs of 64,914 images (train + val, expanded), 16 at a time.
    assert found["deeper"] == found["cascade"] == found["fusion"] == 56 * 64914 // 16
    assert len({found[name] for name in NAMES[:5]}) == 1


@pytest.mark.parametrize("images", [1, 7, 59, 137, 337, 5873, 64914])
@pytest.mark.parametrize("count", [1, 2, 399, 400, 90001])
@pytest.mark.parametrize("batch", [2, 16])
def test_any_number_of_iterations_is_met_for_any_number_of_images(images: int, count: int, batch: int) -> None:
    epochs = in_epochs(count, images, batch)
    assert iterations(epochs, images, batch) == count
    assert epochs == pytest.approx(count * batch / images, rel=1e-12)


@pytest.mark.parametrize("images", [59, 137, 337])
def test_the_learning_rate_follows_the_same_curve_for_any_number_of_images(images: int) -> None:
    solver = {"IMS_PER_BATCH": 2, "EPOCHS": 5.5, "STEP_EPOCHS": [4.0, 5.0], "WARMUP_EPOCHS": 0.5}
    found = timed({"SOLVER": solver, "SEED": 1}, 440, images)
    schedule = derive(
        images=images,
        batch=2,
        epochs=found["SOLVER"]["EPOCHS"],
        step_epochs=found["SOLVER"]["STEP_EPOCHS"],
        warmup_epochs=found["SOLVER"]["WARMUP_EPOCHS"],
        base_lr=0.24,
        reference_batch=16,
    )
    # 440 / 5.5 = 80 iterations where the schedule has an epoch.
    assert (schedule.last, schedule.steps, schedule.warmup) == (440, (320, 400), 40)
    assert found["SEED"] == 1


def test_all_that_is_given_in_epochs_keeps_its_share_of_the_run() -> None:
    solver = {"IMS_PER_BATCH": 2, "EPOCHS": 10.0, "STEP_EPOCHS": [7.5], "WARMUP_EPOCHS": 1.0}
    sizes = {"ONLINE_OFF_EPOCHS": 2.0, "SIZE_STEPS": [[0, [96, 128]], [5, [144, 176]]]}
    found = timed({"SOLVER": solver, "INPUT": sizes}, 1600, 25)
    # 1,600 iterations of 2 are 128 epochs of 25 images, 12.8 times as many.
    assert found["SOLVER"] | {"MAX_TO_KEEP": 1} == {
        "IMS_PER_BATCH": 2,
        "EPOCHS": 128.0,
        "STEP_EPOCHS": [96.0],
        "WARMUP_EPOCHS": 12.8,
        "MAX_TO_KEEP": 1,
    }
    assert found["INPUT"] == {"ONLINE_OFF_EPOCHS": 25.6, "SIZE_STEPS": [[0.0, [96, 128]], [64.0, [144, 176]]]}


def test_what_is_said_of_the_papers_numbers() -> None:
    # Section 3.B.3: six images of each of 5,873 (train) + 4,946 (val).
    assert (6 * 5873, 6 * (5873 + 4946)) == (35238, 64914)
    # settings/paper.yaml: of what is trained on here.
    assert {rung.name: rung.iterations for rung in composed("paper")}["deeper"] * 16 / 35238 == pytest.approx(103, 0.01)


def test_what_is_said_of_raw_predictions_is_what_they_are() -> None:
    from train.inference.request import RAW

    plain = config.flat(config.default())
    found = {key: (plain[key], value) for key, value in RAW.items()}
    assert found == {
        "MODEL.ROI_HEADS.SCORE_THRESH_TEST": (0.05, 0.001),
        "MODEL.ROI_HEADS.NMS_THRESH_TEST": (0.5, 0.9),
        "TEST.DETECTIONS_PER_IMAGE": (100, 300),
    }


def test_merging_changes_neither_side() -> None:
    lower, upper = {"A": {"B": 1, "C": 2}, "D": 3}, {"A": {"B": 4}}
    assert merged(lower, upper) == {"A": {"B": 4, "C": 2}, "D": 3}
    assert (lower, upper) == ({"A": {"B": 1, "C": 2}, "D": 3}, {"A": {"B": 4}})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("about: a\nsection: b\nmodel: r50\n", "unknown field `model`"),
        ("section: a\n", "missing required field `about`"),
        ("about: a\nsection: b\ndata: 3\n", r"`\$.data`"),
        ("about: a\nsection: b\npredict: {flip: true}\n", r"unknown field `flip`.*`\$.predict`"),
        ("about: [\n", "not readable as YAML"),
    ],
)
def test_a_rung_that_says_something_else_is_refused_by_file_and_key(text: str, found: str, tmp_path: Path) -> None:
    (tmp_path / "01-odd.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=found) as caught:
        load_arms(tmp_path)
    assert "01-odd.yaml" in str(caught.value)


def test_rungs_that_do_not_fit_the_settings_are_refused_all_at_once() -> None:
    settings = Settings(about="", model="tiny", schedule="sample", iterations=5, iterations_from={"last": 3})
    rungs = {
        "01-a": Arm(about="", section="", part="deeper", predict=Predict(part="larger")),
        "02-b": Arm(about="", base="z", fuse=("c",), data="all"),
    }
    with pytest.raises(DataError) as caught:
        compose(rungs, settings, {})
    assert str(caught.value).splitlines()[1:] == [
        "  01-a: part: expected one of the settings' parts (none), found 'deeper'",
        "  01-a: predict: part: expected one of the settings' parts (none), found 'larger'",
        "  02-b: base: expected one before it (a), found 'z'",
        f"  02-b: data: expected one of original, {', '.join(shipped(RECIPES))}, or a recipe's keys, found 'all'",
        "  02-b: fuse: expected one before it (a), found 'c'",
        "  02-b: ensemble: expected how to fuse, found nothing",
        "  settings: iterations_from: expected one of a, b, found 'last'",
    ]


@pytest.mark.parametrize(
    ("data", "name"), [("sample", "sample"), ("vipriors", "paper"), ("coco-small", "paper"), ("mine", "small")]
)
def test_settings_follow_the_data(data: str, name: str) -> None:
    assert SETTINGS_OF.get(data, "small") == name


def test_settings_may_build_on_others() -> None:
    long, short = find_settings("sample-long", SETTINGS), find_settings("sample", SETTINGS)
    assert long == msgspec.structs.replace(short, iterations=1200)


def test_settings_that_are_not_there_are_refused() -> None:
    with pytest.raises(
        DataError,
        match="--settings huge: expected a YAML file or one of paper, sample, sample-long, small, found neither",
    ):
        find_settings("huge", SETTINGS)
