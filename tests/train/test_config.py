"""Configurations: every model under every schedule, what is refused and how, and what a resumed run may change."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from datasets.errors import DataError
from train import config

SCHEDULES = ("finetune-cls", "paper", "sample", "sample-finetune-cls")


def refusal(*overrides: str, model: str = "tiny", schedule: str = "sample") -> str:
    """What is said of a configuration that cannot be loaded."""
    with pytest.raises(DataError) as caught:
        config.load(model, schedule, overrides)
    return str(caught.value)


def written(folder: Path, text: str, name: str = "mine.yaml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("model", config.models())
def test_every_model_loads_under_every_schedule(model: str, schedule: str) -> None:
    cfg = config.load(model, schedule)
    # From scratch: no weights, nothing frozen, and a norm that learns.
    assert (cfg.MODEL.WEIGHTS, cfg.MODEL.BACKBONE.FREEZE_AT) == ("", 0)
    roi_heads = "IgnoreAwareCascadeROIHeads" if model.endswith("-cascade") else "IgnoreAwareROIHeads"
    depth = {"r18": 18, "r50": 50, "r101": 101, "resnest50": 50, "tiny": 18}[model.partition("-")[0]]
    parts = (cfg.MODEL.RESNETS.DEPTH, cfg.MODEL.RESNETS.NORM, cfg.MODEL.ROI_HEADS.NAME)
    assert parts == (depth, "BN" if model == "r50-bn" else "GN", roi_heads)
    # The schedule has the last word, whatever the model.
    text = (config.SCHEDULES / f"{schedule}.yaml").read_text(encoding="utf-8")
    stated = config.flat(yaml.safe_load(text))
    stated.pop("_BASE_", None)
    assert {key: value for key, value in config.flat(cfg).items() if key in stated} == stated
    # Iterations are worked out from epochs.
    assert cfg.SOLVER.MAX_ITER == 0


@pytest.mark.parametrize(("name", "below"), [("finetune-cls", "paper"), ("sample-finetune-cls", "sample")])
def test_fine_tuning_counts_categories_more_and_masks_less(name: str, below: str) -> None:
    """Section 3.C.1: 1 to 1.2 and 1 to 0.3; the rate is a tenth of the schedule's it goes on from."""
    cfg, whole = config.load("r50", name), config.load("r50", below)
    weights = {"loss_rpn_cls": 1, "loss_rpn_loc": 1, "loss_cls": 1.2, "loss_box_reg": 1, "loss_mask": 0.3}
    assert dict(cfg.MODEL.LOSS_WEIGHTS) == weights
    assert set(whole.MODEL.LOSS_WEIGHTS.values()) == {1}
    assert pytest.approx(whole.SOLVER.BASE_LR / 10) == cfg.SOLVER.BASE_LR
    assert (cfg.SOLVER.FINETUNE, whole.SOLVER.FINETUNE) == (True, False)
    changed = {difference.key for difference in config.differences(whole, cfg)}
    solver = {f"SOLVER.{key}" for key in ("FINETUNE", "BASE_LR", "EPOCHS", "STEP_EPOCHS", "WARMUP_EPOCHS")}
    assert changed == {"MODEL.LOSS_WEIGHTS.loss_cls", "MODEL.LOSS_WEIGHTS.loss_mask", *solver}


def test_the_paper_s_schedule() -> None:
    cfg = config.load("r101", "paper")
    solver = cfg.SOLVER
    assert (solver.IMS_PER_BATCH, solver.BASE_LR, solver.REFERENCE_BATCH) == (16, 0.02, 16)
    assert (solver.EPOCHS, list(solver.STEP_EPOCHS), solver.GAMMA) == (56.0, [40.0, 50.0], 0.1)
    assert (list(cfg.INPUT.MIN_SIZE_TRAIN), cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING) == ([1400, 1800], "range")
    # No longer side is cut short: 1800 x 1.6 is still less.
    assert cfg.INPUT.MAX_SIZE_TRAIN == cfg.INPUT.MAX_SIZE_TEST == 3000


def test_each_model_and_schedule_has_a_file_and_each_file_a_name() -> None:
    assert {path.stem for path in config.CONFIGS.glob("*.yaml")} == {*config.models(), "base"}
    assert config.schedules() == sorted([*SCHEDULES, "small"])


def test_no_key_is_misspelt_in_what_we_add() -> None:
    """A key that only our defaults have must be one of ours, not a slip in one of Detectron2's."""
    from detectron2.config import get_cfg

    ours = config.flat(config.default()).keys() - config.flat(get_cfg()).keys()
    assert ours == {
        *("MODEL.RESNETS.ZERO_INIT_LAST_NORM", "MODEL.CHECKPOINT_ACTIVATIONS", "MODEL.IGNORE.MIN_IOA"),
        "MODEL.RESNEST.NAME",
        *("SOLVER.EPOCHS", "SOLVER.STEP_EPOCHS", "SOLVER.WARMUP_EPOCHS", "SOLVER.REFERENCE_BATCH"),
        *(key for key in config.BEYOND_PAPER if key not in config.flat(get_cfg())),
        *("SOLVER.ACCUMULATE", "SOLVER.AMP.DTYPE", "SOLVER.MAX_TO_KEEP", "SOLVER.FINETUNE"),
        *("SOLVER.LR_SCHEDULE", "SOLVER.PATIENCE", "LOGGERS"),
        *(f"MODEL.LOSS_WEIGHTS.{name}" for name in config.LOSSES),
    }


def test_overrides_come_last() -> None:
    cfg = config.load("tiny", "sample", ["SOLVER.EPOCHS", "2.5", "SEED", "3", "SEED", "4", "MODEL.MASK_ON", "False"])
    assert (cfg.SOLVER.EPOCHS, cfg.SEED, cfg.MODEL.MASK_ON) == (2.5, 4, False)


def test_a_file_of_ones_own_may_build_on_a_shipped_one(tmp_path: Path) -> None:
    model = written(tmp_path, f"_BASE_: {config.CONFIGS / 'tiny.yaml'}\nMODEL: {{FPN: {{OUT_CHANNELS: 32}}}}")
    schedule = written(tmp_path, "VERSION: 2\nSOLVER: {BASE_LR: 1e-3}", "schedule.yaml")
    cfg = config.load(model, schedule)
    # 1e-3 is text to YAML and a number to Detectron2.
    assert (cfg.MODEL.FPN.OUT_CHANNELS, cfg.MODEL.RESNETS.DEPTH, cfg.SOLVER.BASE_LR) == (32, 18, 0.001)


@pytest.mark.parametrize(
    ("model", "schedule", "expected"),
    [
        ("r34", "sample", "--model r34: expected a YAML file or one of r18, r50-bn, "),
        ("tiny", "papre", "--schedule papre: expected a YAML file or one of finetune-cls, paper, sample, "),
        ("base", "sample", "--model base: expected a YAML file or one of r18, r50-bn, "),
        ("", "sample", "--model : expected a YAML file or one of r18, "),
        ("/", "sample", "--model /: expected a YAML file or one of r18, "),
        ("../configs/tiny", "sample", "--model ../configs/tiny: expected a YAML file or one of r18, "),
    ],
)
def test_unknown_names(model: str, schedule: str, expected: str) -> None:
    assert refusal(model=model, schedule=schedule).startswith(expected)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["SOLVER.EPOCHS"], "expected KEY VALUE pairs, found 'SOLVER.EPOCHS' without a value"),
        (["SEED", "1", "SOLVER.EPOCHS"], "expected KEY VALUE pairs, found 'SOLVER.EPOCHS' without a value"),
        (["SOLVER.EPOCH", "1.0"], "SOLVER.EPOCH: Non-existent key: SOLVER.EPOCH; Detectron2's config reference "),
        (["SOLVRE.EPOCHS", "1.0"], "SOLVRE.EPOCHS: Non-existent key: SOLVRE.EPOCHS; "),
        (["", "1.0"], ": Non-existent key: ; "),
        (["SEED.X", "1"], "SEED.X: "),
        (["MODEL.META_ARCHITECTURE.R", "1"], "MODEL.META_ARCHITECTURE.R: "),
        (["_BASE_", "r50.yaml"], "_BASE_: The reserved key '_BASE_' can only be used in files!"),
        (["SOLVER.EPOCHS", "many"], "SOLVER.EPOCHS: Type mismatch (<class 'float'> vs. <class 'str'>)"),
        (["MODEL.MASK_ON", "1"], "MODEL.MASK_ON: Type mismatch (<class 'bool'> vs. <class 'int'>)"),
        (["SOLVER.STEP_EPOCHS", "4.5"], "SOLVER.STEP_EPOCHS: Type mismatch (<class 'list'> vs. <class 'float'>)"),
        (["MODEL.IGNORE", "0.5"], "MODEL.IGNORE: Type mismatch ("),
        # Nothing is run, only literals are read.
        (["SEED", "__import__('os').getpid()"], "SEED: Type mismatch (<class 'int'> vs. <class 'str'>)"),
    ],
)
def test_overrides_that_are_refused_name_the_key(overrides: list[str], expected: str) -> None:
    assert refusal(*overrides).startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "SOLVER: {EPOCH: 1.0}\nDATA: {X: 1}",
            "expected keys that there are; Detectron2's config reference and train/config.py name all keys\n"
            "  SOLVER.EPOCH: no such key; did you mean SOLVER.EPOCHS?\n  DATA: no such key",
        ),
        ("EPOCHS: 1.0", "expected keys that there are; "),
        ("SOLVER: {EPOCHS: many}", "Type mismatch (<class 'float'> vs. <class 'str'>)"),
        ("SOLVER: {EPOCHS: 2020-01-01}", "Key SOLVER.EPOCHS with value <class 'datetime.date'> is not a valid type"),
        ("SOLVER: [1]", "Type mismatch ("),
        ("VERSION: 3", "VERSION: expected 2, found 3"),
        ("_BASE_: mine.yaml", "expected files that build on one another, found a loop of _BASE_"),
        ("SOLVER: &solver {EPOCHS: *solver}", "not readable as YAML: it is nested without end"),
        ("SOLVER: [", "not readable as YAML: while parsing a flow node"),
        ("\x00", "not readable as YAML: unacceptable character"),
        # No mapping at all.
        ("", ""),
        ("paper", ""),
        ("[1]", ""),
        ("MODEL:", ""),
        ("1: 2", ""),
    ],
)
@pytest.mark.parametrize("part", ["model", "schedule"])
def test_files_that_are_refused_are_named(part: str, text: str, expected: str, tmp_path: Path) -> None:
    # Of this version where it says nothing else: Detectron2 guesses, and tries to bring old ones up to date.
    path = written(tmp_path, text if ":" not in text or "VERSION" in text else f"VERSION: 2\n{text}")
    assert refusal(**{part: path}).startswith(f"{path}: {expected}")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfeV")
    assert refusal(schedule=str(path)).startswith(f"{path}: not readable as YAML: 'utf-8' codec can't decode")


@pytest.mark.parametrize("place", ["{}", "VERSION: 2\nSOLVER: {}", "_BASE_: base.yaml\nVERSION: 2"])
def test_code_in_a_file_does_not_run(place: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    unsafe = f'!!python/object/apply:os.system ["touch {mark}"]'
    written(tmp_path, unsafe, "base.yaml")
    path = written(tmp_path, place.format(unsafe))
    # It would run, read unsafely.
    assert yaml.unsafe_load(unsafe) == 0
    mark.unlink()
    named = tmp_path / "base.yaml" if "_BASE_" in place else path
    assert refusal(schedule=path).startswith(
        f"{named}: not readable as YAML: could not determine a constructor for the tag"
    )
    assert not mark.exists()


def test_a_base_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, "_BASE_: none.yaml")
    assert refusal(schedule=path).startswith(f"{tmp_path / 'none.yaml'}: not readable as YAML: [Errno 2] No such file")


def test_a_base_is_a_file_and_no_address(tmp_path: Path) -> None:
    path = written(tmp_path, "_BASE_: http://127.0.0.1:9/base.yaml")
    assert "No such file" in refusal(schedule=path)


def test_whole_numbers_do_for_floats(tmp_path: Path) -> None:
    path = written(tmp_path, "SOLVER: {EPOCHS: 12, BASE_LR: 1}")
    cfg = config.load("tiny", path, ["SOLVER.WARMUP_EPOCHS", "2"])
    assert [cfg.SOLVER.EPOCHS, cfg.SOLVER.BASE_LR, cfg.SOLVER.WARMUP_EPOCHS] == [12.0, 1.0, 2.0]
    assert {type(cfg.SOLVER.EPOCHS), type(cfg.SOLVER.BASE_LR), type(cfg.SOLVER.WARMUP_EPOCHS)} == {float}


def test_later_bases_win_and_the_file_itself_wins_over_all(tmp_path: Path) -> None:
    written(tmp_path, "SOLVER: {EPOCHS: 1.0, BASE_LR: 0.1, GAMMA: 0.3}", "a.yaml")
    written(tmp_path, "SOLVER: {EPOCHS: 2.0, BASE_LR: 0.2}", "b.yaml")
    path = written(tmp_path, "_BASE_: [a.yaml, b.yaml]\nSOLVER: {EPOCHS: 3.0}")
    solver = config.load("tiny", path).SOLVER
    assert (solver.EPOCHS, solver.BASE_LR, solver.GAMMA) == (3.0, 0.2, 0.3)


@pytest.mark.parametrize("model", config.models())
def test_what_a_checkpoint_carries_is_the_same_configuration(model: str) -> None:
    cfg = config.load(model, "paper", ["SOLVER.BASE_LR", "1e-05", "SOLVER.WEIGHT_DECAY_BIAS", "0.25"])
    again = config.from_text(cfg.dump(), "a.pth")
    assert config.differences(cfg, again) == []
    # Nothing was left out of the comparison, and nothing got another type.
    assert again != config.default()
    assert yaml.safe_load(again.dump()) == yaml.safe_load(cfg.dump())
    assert again.SOLVER.BASE_LR == 0.00001


@pytest.mark.parametrize(
    "text",
    ["SOLVER: {EPOCH: 1.0}", "SOLVER: {EPOCHS: 1}", "SOLVER: [", "- 1", "5", "!!python/object/apply:os.getpid []"],
)
def test_a_configuration_of_another_version_is_refused(text: str) -> None:
    with pytest.raises(DataError) as caught:
        config.from_text(text, "a.pth")
    assert str(caught.value).startswith("a.pth: its configuration cannot be read: ")


def test_differences_are_named_with_both_values() -> None:
    before = config.load("tiny", "sample", ["SOLVER.BASE_LR", "0.25"])
    now = config.load("tiny", "sample", ["SOLVER.BASE_LR", "0.5", "INPUT.FORMAT", "RGB", "SEED", "0"])
    found = config.differences(before, now)
    assert [str(item) for item in found] == [
        "INPUT.FORMAT: was 'BGR', is 'RGB'",
        "SOLVER.BASE_LR: was 0.25, is 0.5",
    ]
    assert config.differences(now, before) == [item._replace(before=item.now, now=item.before) for item in found]


def test_a_resumed_run_may_change_what_does_not_change_the_result() -> None:
    assert {
        *("DATALOADER.NUM_WORKERS", "MODEL.CHECKPOINT_ACTIVATIONS", "SOLVER.CHECKPOINT_PERIOD", "SOLVER.MAX_TO_KEEP"),
        *("LOGGERS", "SOLVER.PATIENCE"),
    } == config.FREE_ON_RESUME
    before = config.load("tiny", "sample")
    now = config.load(
        "tiny",
        "sample",
        [
            *("DATALOADER.NUM_WORKERS", "7", "MODEL.CHECKPOINT_ACTIVATIONS", "True"),
            *("SOLVER.CHECKPOINT_PERIOD", "7", "SOLVER.MAX_TO_KEEP", "7"),
            *("LOGGERS", "[]", "SOLVER.PATIENCE", "7"),
        ],
    )
    assert now.dump() != before.dump()
    assert config.differences(before, now) == []
    # The batch in parts is another sum of the same numbers, and batch norm sees the parts.
    parts = config.load("tiny", "sample", ["SOLVER.ACCUMULATE", "2"])
    assert [item.key for item in config.differences(before, parts)] == ["SOLVER.ACCUMULATE"]


def test_a_tuple_is_as_good_as_a_list() -> None:
    before, now = config.load("tiny", "sample"), config.load("tiny", "sample")
    now.INPUT.MIN_SIZE_TRAIN = list(before.INPUT.MIN_SIZE_TRAIN)
    weights = before.MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS
    now.MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS = [list(stage) for stage in weights]
    assert (type(weights), type(weights[0])) == (tuple, tuple)
    assert config.differences(before, now) == []
    now.MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS[2][3] += 1
    # Detectron2's three stages.
    three = [[10.0, 10.0, 5.0, 5.0], [20.0, 20.0, 10.0, 10.0], [30.0, 30.0, 15.0, 15.0]]
    [found] = config.differences(before, now)
    assert found == ("MODEL.ROI_BOX_CASCADE_HEAD.BBOX_REG_WEIGHTS", three, [*three[:2], [30.0, 30.0, 15.0, 15.0 + 1]])


def test_a_key_that_one_side_lacks_is_a_difference() -> None:
    before, now = config.load("tiny", "sample"), config.load("tiny", "sample")
    del before.MODEL.IGNORE["MIN_IOA"]
    assert [str(item) for item in config.differences(before, now)] == ["MODEL.IGNORE.MIN_IOA: was None, is 0.5"]
    assert [str(item) for item in config.differences(now, before)] == ["MODEL.IGNORE.MIN_IOA: was 0.5, is None"]


def test_nothing_outside_is_read_or_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from detectron2.config import get_cfg, global_cfg, set_global_cfg

    before, theirs = config.load("tiny", "sample").dump(), get_cfg().dump()
    # Files with the same names where the user stands, and somebody's global configuration.
    for name in ("tiny", "tiny.yaml", "sample", "sample.yaml", "base.yaml"):
        written(tmp_path, "SEED: 5", name)
    monkeypatch.chdir(tmp_path)
    kept = dict(global_cfg)
    try:
        spoilt = get_cfg()
        spoilt.SEED = 5
        set_global_cfg(spoilt)
        first = config.load("tiny", "sample", ["SEED", "7", "INPUT.MIN_SIZE_TRAIN", "[150, 160]"])
        # What is done to one configuration is not done to the next.
        first.MODEL.ANCHOR_GENERATOR.SIZES[0][0] = 1000
        first.SOLVER.STEP_EPOCHS.append(1000.0)
        assert config.load("tiny", "sample").dump() == before
        assert get_cfg().dump() == theirs
        assert global_cfg.dump() == spoilt.dump()
    finally:
        global_cfg.clear()
        global_cfg.update(kept)
