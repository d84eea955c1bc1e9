"""The command line: models, fit and predict, what they print, and with which code they end."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from PIL import Image as PillowImage

from datasets import result_reading
from datasets.checks import Leniency
from datasets.sources import Input
from tests.command_line import Cli, in_shell
from tests.conftest import CATEGORIES, picture
from tests.train.made import content, tiny_config, weights_config, write_list
from train import config
from train.__main__ import main
from train.checkpoints import checkpoint
from train.inference.request import DRAW_SCORE
from train.inference.request import Request as PredictRequest
from train.model.build import build_network
from train.processes import launch
from train.processes.launch import World
from train.run import fit
from train.run.request import Request


@pytest.fixture
def cli() -> Cli:
    """cli(...): what a shell would see of `python -m train ...`."""
    return partial(in_shell, main, "python -m train")


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize(
    "command", [[], ["models"], ["fit"], ["predict"], ["choose-size"], ["average"], ["lineage"], ["report"]]
)
def test_help_has_an_example(command: list[str], flag: str) -> None:
    ended = CliRunner().invoke(main, [*command, flag])
    assert ended.exit_code == 0
    _, example = ended.output.split("Example:")
    assert " ".join(["python -m train", *command]) in example


# Millions of parameters with 80 categories; those of the paper's models as stock Detectron2 was counted to have them.
PARAMETERS = {
    "r18": 32.64,
    "r50-bn": 44.40,
    "r50-gn": 44.40,
    "r50": 45.71,
    "r101": 64.70,
    "r18-cascade": 62.91,
    "r50-cascade": 75.98,
    "r101-cascade": 94.97,
    "resnest50": 47.64,
    "resnest50-cascade": 77.90,
    "tiny": 12.50,
    "tiny-cascade": 14.22,
}


def test_models_prints_every_model_as_json(cli: Cli) -> None:
    code, out, err = cli("models", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert {name: round(entry["parameters"] / 1e6, 2) for name, entry in found.items()} == PARAMETERS
    assert {name: entry["about"] for name, entry in found.items()} == config.MODELS


def test_models_prints_a_line_each(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "MODELS", {name: config.MODELS[name] for name in ("tiny", "tiny-cascade")})
    code, out, err = cli("models")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"tiny           12.50 M  {config.MODELS['tiny']}",
        f"tiny-cascade   14.22 M  {config.MODELS['tiny-cascade']}",
    ]


@pytest.fixture
def spec(drawn: Input, tmp_path: Path) -> Path:
    """The drawn dataset as data by name."""
    split = {"annotations": str(drawn.annotations), "images": str(drawn.images)}
    path = tmp_path / "drawn.yaml"
    path.write_text(yaml.safe_dump({"about": "drawn for tests", "train": split, "val": split}), encoding="utf-8")
    return path


Launched = tuple[Callable[..., None], World, Any]


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[Launched]:
    """What `fit` or `predict` would have run, which does not run."""
    calls: list[Launched] = []
    monkeypatch.setattr(launch, "launch", lambda *arguments: calls.append(arguments))
    return calls


def test_fit_passes_on_what_it_was_asked_for(cli: Cli, launched: list[Launched], spec: Path, drawn: Input) -> None:
    assert cli("fit", "--model", "tiny", "--data", spec, "--output", "runs/a") == (0, "", "")
    assert cli(
        *(
            "fit",
            "--model",
            "r50",
            "--annotations",
            drawn.annotations,
            "--images",
            drawn.images,
            "--output",
            "runs/b",
            "--val",
            spec,
            "--schedule",
            "sample",
        ),
        *("--gpus", "2", "SEED", "1", "--machines", "3", "--rank", "1", "--dist-url", "tcp://10.0.0.1:29500"),
        *("--init", "runs/a", "--categories", "top:34"),
        *(
            "--clip-boxes",
            "--skip-bad",
            "--resume",
            "--allow-pretrained",
            "INPUT.MIN_SIZE_TRAIN",
            "[64, 80]",
            "--",
            "SEED",
            "-1",
        ),
    ) == (0, "", "")
    files = ("--val-annotations", drawn.annotations, "--val-images", drawn.images)
    assert cli("fit", "--model", "tiny", "--data", spec, "--output", "o", *files) == (0, "", "")

    plain, full, by_files = launched
    assert plain == (fit.fit, World(1, 1, 0, None), Request("tiny", drawn, Path("runs/a"), "paper"))
    assert full[:2] == (fit.fit, World(2, 3, 1, "tcp://10.0.0.1:29500"))
    assert full[2] == Request(
        model="r50",
        data=drawn,
        output=Path("runs/b"),
        schedule="sample",
        overrides=("SEED", "1", "INPUT.MIN_SIZE_TRAIN", "[64, 80]", "SEED", "-1"),
        validation=drawn,
        resume=True,
        init=Path("runs/a"),
        categories="top:34",
        allow_pretrained=True,
        leniency=Leniency(clip_boxes=True, skip_bad=True),
    )
    assert by_files[2].validation == drawn


def test_predict_passes_on_what_it_was_asked_for(cli: Cli, launched: list[Launched], drawn: Input) -> None:
    asked = ["predict", "--weights", "w.pth", "--output", "r.json"]
    listed = ["--annotations", drawn.annotations, "--images", drawn.images]
    assert cli(*asked, *listed, "--gpus", "2") == (0, "", "")
    assert cli(*asked, "--images", "i", "--masks", "--draw", "d", "--skip-bad", "--processes", "3") == (0, "", "")
    assert cli(*asked, "--images", "i", "--draw", "d", "--draw-score", "0.25", "SEED", "1") == (0, "", "")
    plain = PredictRequest(Path("w.pth"), drawn.annotations, drawn.images, Path("r.json"))
    folder = plain._replace(annotations=None, images=Path("i"), draw=Path("d"))
    assert [(world, request) for _, world, request in launched] == [
        (World(2), plain),
        (
            World(3, device="cpu"),
            folder._replace(masks=True, draw_score=DRAW_SCORE, skip_bad=True, device="cpu"),
        ),
        (World(1), folder._replace(draw_score=0.25, overrides=("SEED", "1"))),
    ]


FIT = ["fit", "--model", "tiny", "--data", "d", "--output", "o"]
PREDICT = ["predict", "--annotations", "a", "--images", "i", "--output", "o"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["fit", "--data", "d", "--output", "o"], "--model"),
        (["fit", "--model", "tiny", "--output", "o"], "give either --annotations and --images, or --data"),
        ([*FIT, "--images", "i"], "give either --annotations and --images, or --data"),
        ([*FIT[:3], "--output", "o", "--annotations", "a", "--images", "i", "--split", "val"], "--split goes with"),
        (["fit", "--model", "tiny", "--data", "d"], "--output"),
        ([*FIT, "--gpus", "0"], "--gpus"),
        ([*FIT, "--machines", "0"], "--machines"),
        ([*FIT, "--rank", "-1"], "--rank"),
        ([*FIT, "--val-annotations", "a"], "--val-annotations and --val-images go together"),
        ([*FIT, "--val-images", "i"], "--val-annotations and --val-images go together"),
        ([*FIT, "--val", "sample", "--val-annotations", "a", "--val-images", "i"], "give either --val, or"),
        ([*FIT, "--colour"], "--colour"),
        (PREDICT, "give either --run or --weights"),
        ([*PREDICT, "--run", "r", "--weights", "w"], "give either --run or --weights"),
        ([*PREDICT, "--weights", "w", "--epoch", "best"], "--epoch goes with --run"),
        ([*PREDICT, "--weights", "w", "--tile", "31"], "--tile"),
        ([*PREDICT, "--weights", "w", "--overlap", "0.1"], "--overlap goes with --tile"),
        (
            [*PREDICT, "--weights", "w", "--tile", "64", "--overlap", "1"],
            "--overlap: expected 0 or more and less than 1",
        ),
        ([*PREDICT, "--weights", "w", "--tile", "64", "--overlap", "nan"], "less than 1, found nan"),
        (["average", "runs/a"], "--epochs"),
        (["lineage"], "RUN"),
        (["report"], "RUN"),
        (["predict", "--run", "r", "--output", "o"], "give either --annotations and --images, --images alone, or"),
        (["predict", "--run", "r", "--data", "d", "--images", "i", "--output", "o"], "--images alone, or --data"),
        (
            ["predict", "--run", "r", "--annotations", "a", "--output", "o"],
            "give either --annotations and --images, --images alone, or",
        ),
        ([*PREDICT, "--run", "r", "--data", "sample"], "--images alone, or --data"),
        ([*PREDICT, "--weights", "w", "--draw-score", "0.5"], "--draw-score goes with --draw"),
        ([*PREDICT, "--weights", "w", "--draw", "d", "--draw-score", "1.5"], "--draw-score"),
        ([*PREDICT, "--weights", "w", "--gpus", "2", "--processes", "2"], "give either --gpus, or --processes for the"),
        ([*PREDICT, "--weights", "w", "--processes", "2", "MODEL.DEVICE", "cuda"], "found MODEL.DEVICE cuda"),
        (["predict", "--run", "r", "--annotations", "a", "--images", "i"], "--output"),
        (["train"], "train"),
        (["models", "tiny"], "tiny"),
    ],
)
def test_wrong_usage_ends_with_2(arguments: list[str], expected: str, cli: Cli) -> None:
    code, out, err = cli(*arguments)
    assert (code, out) == (2, "")
    assert expected in " ".join(err.split())


def test_bad_data_ends_with_1_and_no_traceback(cli: Cli, drawn: Input, tmp_path: Path) -> None:
    here, none = tmp_path / "run", tmp_path / "none"
    data = ["--annotations", drawn.annotations, "--images", drawn.images]
    begun = ["fit", "--output", here, "--schedule", "sample"]
    asked = ["predict", "--annotations", drawn.annotations, "--images", drawn.images, "--output", tmp_path / "o.json"]
    cases: list[tuple[list[object], str]] = [
        ([*begun, "--model", "r34", *data], "--model r34: expected a YAML file or one of r18, "),
        ([*begun, "--model", "tiny", *data, "SEED"], "expected KEY VALUE pairs, found 'SEED' without"),
        ([*begun, "--model", "tiny", *data, "SEEDS", "1"], "SEEDS: Non-existent key: SEEDS; "),
        ([*begun, "--model", "tiny", *data, "--", "SEED", "-1"], "SEED: expected 0 or more, "),
        ([*begun, "--model", "tiny", *data, "--rank", "1"], "--rank: expected 0 to 0 with --machines 1"),
        (
            [*begun, "--model", "tiny", "--data", none],
            f"--data {none}: expected the folder of a build (`make dataset`), a",
        ),
        ([*begun, "--model", "tiny", *data, "--val", "nobody"], "--val nobody: expected the folder of a build "),
        ([*asked, "--run", none], f"{none}: expected the folder of a run with model_best.pth or model_last.pth, found"),
        ([*asked, "--weights", none], f"{none}: the checkpoint cannot be read: No such file or directory"),
        ([*asked, "--weights", drawn.annotations], f"{drawn.annotations}: expected a checkpoint, found a file that"),
    ]
    for arguments, expected in cases:
        code, out, err = cli(*arguments)
        assert (code, out) == (1, ""), arguments
        assert err.startswith(f"error: {expected}")
    assert [path.name for path in tmp_path.iterdir() if path != here] == []


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)])
def test_a_signal_ends_with_its_code(
    error: BaseException, code: int, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object) -> None:
        raise error

    monkeypatch.setattr(fit, "fit", stopped)
    ended = cli(*FIT[:3], "--output", "o", "--annotations", "a", "--images", "i")
    assert (ended.code, ended.out, ended.err.strip()) == (code, "", "interrupted" if code == 130 else "")


def test_predict_takes_the_best_of_a_run_else_its_last(cli: Cli, tmp_path: Path) -> None:
    run, images, output = tmp_path / "run", tmp_path / "images", tmp_path / "results.json"
    run.mkdir()
    images.mkdir()
    PillowImage.fromarray(picture(60, 50, 1)).save(images / "7.png")
    # As the drawn dataset's files have them.
    annotations = write_list(tmp_path / "images.json", {7: (50, 60)}, categories=CATEGORIES)
    pairs: list[tuple[int, str]] = [(int(str(item["id"])), str(item["name"])) for item in CATEGORIES]
    cfg = tiny_config(len(pairs))
    for name, seed in ((checkpoint.BEST, 1), (checkpoint.LAST, 2)):
        checkpoint.save(run / name, content(build_network(cfg, seed=seed), cfg, pairs))
    asked = ["predict", "--annotations", annotations, "--images", images, "--output", output]

    def predicted(*options: object) -> bytes:
        by = run / checkpoint.BEST if (run / checkpoint.BEST).exists() else run / checkpoint.LAST
        code, out, err = cli(*asked, *options)
        assert (code, err) == (0, "")
        found = len(result_reading.read(output))
        assert out == f"{output}: {found} detections in 1 images, 0 without any; by {by}\n"
        return output.read_bytes()

    best = predicted("--run", run)
    assert predicted("--weights", run / checkpoint.BEST) == best
    fewer = predicted("--run", run, "--raw", "TEST.DETECTIONS_PER_IMAGE", "3")
    assert fewer.count(b"image_id") == 3
    sizes: list[Any] = ["TEST.AUG.MIN_SIZES", "[50, 64]", "TEST.AUG.MAX_SIZE", "128"]
    assert predicted("--run", run, "--tta", *sizes) != best
    assert predicted("--run", run, "--tile", "60") == best
    assert predicted("--run", run, "--tile", "32", "--overlap", "0.25") != best
    (run / checkpoint.BEST).unlink()
    last = predicted("--run", run)
    assert last != best
    assert predicted("--run", run, "--epoch", "last") == last
    code, out, err = cli(*asked, "--run", run, "--epoch", "best")
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {run}: expected the folder of a run with {checkpoint.BEST}, found no such file")
    assert predicted("--weights", run / checkpoint.LAST) == last


@pytest.fixture
def epochs(tmp_path: Path) -> Path:
    """A run with checkpoints of two epochs, the second of which is the last."""
    cfg = weights_config(1)
    run = tmp_path / "run"
    run.mkdir()
    for epoch in (1, 2):
        made = content(build_network(cfg, seed=epoch), cfg, epoch=float(epoch))
        checkpoint.save(run / checkpoint.epoch_name(epoch), made)
    checkpoint.keep(run / checkpoint.epoch_name(2), checkpoint.LAST)
    return run


def test_average_says_where_it_is_and_is_no_epoch_of_the_run(cli: Cli, epochs: Path, tmp_path: Path) -> None:
    path = epochs / "model_average_1-2.pth"
    assert cli("average", epochs, "--epochs", "1-2") == (0, f"{path}: the average of 2 epochs\n", "")
    assert checkpoint.epochs_in(epochs).keys() == {1, 2}
    assert checkpoint.find_in_run(epochs).name == checkpoint.LAST
    other = tmp_path / "mine.pth"
    assert cli("average", epochs, "--epochs", "1,2", "--output", other).code == 0
    assert other.is_file()
    code, out, err = cli("average", epochs, "--epochs", "2-4")
    assert (code, out) == (1, "")
    assert "missing are 3-4" in err


def test_lineage_shows_every_run_that_it_is_given(cli: Cli, epochs: Path) -> None:
    average = epochs / "model_average_1-2.pth"
    cli("average", epochs, "--epochs", "1-2")
    code, out, err = cli("lineage", epochs, average)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == str(epochs / checkpoint.LAST)
    assert lines.count("from scratch: yes") == 2
    assert lines.index(str(average)) == lines.index("from scratch: yes") + 1
    assert "  the average of the weights of" in lines
    assert cli("lineage", epochs, "--epoch", "1").out.splitlines()[0] == str(epochs / checkpoint.epoch_name(1))


def test_lineage_of_pretrained_weights_says_no_and_why(cli: Cli, tmp_path: Path) -> None:
    cfg = weights_config(1)
    path = tmp_path / "a.pth"
    line = {"pretrained": True, "from": "R-50.pkl", "sha256": "0" * 64, "allowed_by": "--allow-pretrained"}
    checkpoint.save(path, content(build_network(cfg, seed=0), cfg, lineage=line))
    out = cli("lineage", path).out
    assert out.endswith("from scratch: no\n  a.pth starts from R-50.pkl, which was trained elsewhere\n")
    (entry,) = json.loads(cli("lineage", path, "--json").out)
    assert entry["from_scratch"] is False
    assert entry["doubts"] == ["a.pth starts from R-50.pkl, which was trained elsewhere"]
    assert entry["lineage"] == line
    (tmp_path / "b.pth").write_bytes(b"no checkpoint")
    assert cli("lineage", tmp_path / "b.pth").code == 1
    assert cli("lineage", tmp_path / "none").code == 1
