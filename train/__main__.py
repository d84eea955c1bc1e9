"""python -m train models | fit | predict | choose-size | average | lineage | report"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from datasets import cli, options

if TYPE_CHECKING:
    from datasets.options import AskedFor
    from datasets.sources import Input
    from train.processes.launch import World

# Heavy imports are inside the commands: `--help` must answer at once.


@options.group
def main() -> None:
    """Train Mask R-CNN from scratch with Detectron2, and predict with it.

    \b
    Example:
      python -m train fit --model tiny --data datasets/sample-expanded --val sample --schedule sample --output runs/tiny
      python -m train predict --run runs/tiny --annotations test.json --images test --output results.json
      python -m train lineage runs/tiny
      python -m train report runs/tiny
    """


@main.command(short_help="List the models, with the number of their parameters.")
@options.json_output
def models(as_json: bool) -> None:
    """List the models: name, parameters with 80 categories, and what it is.

    \b
    Example:
      python -m train models
    """
    from train import config
    from train.model.build import build_network, parameter_count

    listed: dict[str, dict[str, Any]] = {}
    for name, about in config.MODELS.items():
        cfg = config.load(name, "paper", ["MODEL.ROI_HEADS.NUM_CLASSES", "80"])
        listed[name] = {"about": about, "parameters": parameter_count(build_network(cfg, "meta"))}
    if as_json:
        click.echo(json.dumps(listed, indent=1))
        return
    width = max(map(len, listed))
    for name, entry in listed.items():
        click.echo(f"{name:<{width}}  {entry['parameters'] / 1e6:6.2f} M  {entry['about']}")


gpus_option = click.option(
    "--gpus",
    type=click.IntRange(1, 1024),
    metavar="N",
    default=1,
    show_default=True,
    help="Processes here, one a GPU; on the CPU with MODEL.DEVICE cpu.",
)

processes_option = click.option(
    "--processes",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="Use the CPU, with so many processes, which share images and cores.",
)


@main.command(short_help="Train a model from scratch.")
@click.option("--model", required=True, metavar="NAME|FILE", help="A name that `models` lists, or a YAML file.")
@options.images_of("train", files_needed=True, about="Their folder.")
@click.option("--val", metavar="NAME|FILE|DIR", help="Validate on the split `val` of data like --data.")
@click.option("--val-annotations", type=options.PATH, help="Validate on this COCO annotation file ...")
@click.option("--val-images", type=options.PATH, help="... and its images.")
@click.option("--output", type=options.PATH, required=True, metavar="RUN", help="Folder of the run.")
@click.option(
    "--schedule",
    default="paper",
    show_default=True,
    metavar="NAME|FILE",
    help="In train/configs/schedules/, or a file.",
)
@click.option(
    "--init", type=options.PATH, metavar="RUN|FILE", help="Start from this run's best (else last) checkpoint, or this."
)
@click.option(
    "--categories", metavar="NAME|FILE|top:N", help="Train on these only: paper34, names in a file, or top N."
)
@gpus_option
@click.option("--machines", type=click.IntRange(1), default=1, show_default=True, help="Machines with --gpus each.")
@click.option("--rank", type=click.IntRange(0), default=0, show_default=True, help="Which of the machines this is.")
@click.option("--dist-url", metavar="URL", help="Where they meet: tcp://ADDRESS-OF-MACHINE-0:PORT.")
@click.option("--resume", is_flag=True, help="Go on with the run in RUN, or begin it where there is none.")
@click.option(
    "--online", metavar="NAME|FILE", help="A recipe of `augment`: each epoch draws one of its variants of each image."
)
@options.leniency
@click.option("--allow-pretrained", is_flag=True, help="Let MODEL.WEIGHTS be third-party weights; this is recorded.")
@click.option("--label", default="", metavar="TEXT", help="Begins each line of output, for several runs at once.")
@click.argument("overrides", nargs=-1, metavar="[KEY VALUE]...")
def fit(
    images: AskedFor,
    val: str | None,
    val_annotations: Path | None,
    val_images: Path | None,
    gpus: int,
    machines: int,
    rank: int,
    dist_url: str | None,
    online: str | None,
    **chosen: Any,
) -> None:
    """Train from scratch. KEY VALUE pairs override the configuration: see train/config.py and Detectron2's reference.

    \b
    Example:
      python -m train fit --model r101 --data datasets/vipriors-expanded --output runs/r101 --gpus 8
      python -m train fit --model r50 --data datasets/vipriors-expanded --output runs/r50 \\
          SOLVER.ACCUMULATE 16 MODEL.CHECKPOINT_ACTIVATIONS True SOLVER.AMP.ENABLED True    # a card of 12 GB
      python -m train fit --model r50 --data datasets/vipriors-expanded --output runs/r50-34 --categories paper34
      python -m train fit --model r50 --data datasets/vipriors-expanded --output runs/r50-80 --init runs/r50-34
      python -m train fit --model r50 --data datasets/vipriors-expanded --output runs/r50-cls --init runs/r50 \\
          --schedule finetune-cls
      python -m train fit --model r18 --data cells --val cells --output runs/cells --online scarce SOLVER.EMA 0.999
    """
    from train import cpu

    cpu.wait_without_spinning()

    from train import config
    from train.data.online import load_recipe
    from train.processes.launch import World, launch
    from train.run.fit import fit as run
    from train.run.request import Request

    validation = _validation(val, val_annotations, val_images)
    device = "auto"
    if gpus * machines > 1:
        device = config.load(chosen["model"], chosen["schedule"], chosen["overrides"]).MODEL.DEVICE
    recipe = None if online is None else load_recipe(online)
    request = Request(data=images.input(), validation=validation, online=recipe, **chosen)
    launch(run, World(gpus, machines, rank, dist_url, device), request)


def _validation(val: str | None, annotations: Path | None, images: Path | None) -> Input | None:
    from datasets.sources import Input
    from datasets.spec import input_of

    if (annotations is None) != (images is None):
        raise click.UsageError("--val-annotations and --val-images go together")
    if annotations is not None and images is not None:
        if val is not None:
            raise click.UsageError("give either --val, or --val-annotations and --val-images")
        return Input(annotations, images)
    return None if val is None else input_of(val, "val", option="--val")


@main.command(short_help="Detect objects; write a COCO results file.")
@click.option("--run", type=options.PATH, help="Folder of a run: its best checkpoint, else its last.")
@click.option("--epoch", metavar="N|best|last", help="Another checkpoint of --run.")
@click.option("--weights", type=options.PATH, help="A checkpoint file.")
@options.images_of("test", files_needed=True, about="Their folder; alone: all JPEG and PNG files in it.", alone=True)
@click.option("--output", type=options.PATH, required=True, help="Results file to write, COCO JSON.")
@click.option("--masks", is_flag=True, help="Put masks into the results.")
@click.option("--draw", type=options.PATH, metavar="DIR", help="Draw what is found into copies of the images.")
@click.option("--draw-score", type=click.FloatRange(0, 1), metavar="F", help="... from this score on.  [default: 0.5]")
@options.skip_bad_option
@gpus_option
@processes_option
@click.option("--amp", type=click.Choice(["fp16", "bf16"]), help="Mixed precision; bf16 also on CPUs that have it.")
@click.option("--no-ema", is_flag=True, help="Use the weights themselves, not their moving average (SOLVER.EMA).")
@click.option("--tta", is_flag=True, help="Test-time augmentation: the sizes of TEST.AUG, and mirrored.")
@click.option(
    "--tile",
    type=click.IntRange(32),
    metavar="SIZE",
    help="Cut larger images into tiles of SIZE px, detect in each, and merge; see docs/train.md.",
)
@click.option(
    "--overlap",
    type=float,
    metavar="F",
    help="How much of a side neighbouring tiles share at least.  [default: 0.2]",
)
@click.option("--raw", is_flag=True, help="Keep scores from 0.001 and 300 boxes an image, for soft-NMS later.")
@click.argument("overrides", nargs=-1, metavar="[KEY VALUE]...")
def predict(
    run: Path | None,
    epoch: str | None,
    weights: Path | None,
    images: AskedFor,
    gpus: int,
    processes: int | None,
    overlap: float | None,
    draw_score: float | None,
    no_ema: bool,
    **chosen: Any,
) -> None:
    """Detect objects with a trained model and write a COCO results file; draw them into the images.

    With --images alone, RESULTS.images.json lists the images with the ids that they get.

    \b
    Example:
      python -m train predict --run runs/r101 --annotations instances_test.json --images test --output r101.json --raw
      python -m train predict --run runs/r101 --data vipriors --output r101.json --raw --tta --gpus 8 --amp bf16
      python -m train predict --run runs/cells --annotations slides.json --images slides --output slides-cells.json \\
          --tile 1024 --overlap 0.25
      python -m train predict --run runs/cells --images photographs --output found.json --draw found
      python -m train predict --run runs/r50 --data vipriors --split val --output r50.json --masks --draw drawn \\
          --draw-score 0.3
      python -m train predict --run runs/tiny --images photographs --output found.json --processes 4    # on the CPU
    """
    from train import cpu

    cpu.wait_without_spinning()

    from train.checkpoints import checkpoint
    from train.inference import test_size, tiling
    from train.inference.predict import predict_and_report
    from train.inference.request import DRAW_SCORE, Request
    from train.processes.launch import launch

    if (run is None) == (weights is None):
        raise click.UsageError("give either --run or --weights")
    if epoch is not None and run is None:
        raise click.UsageError("--epoch goes with --run")
    if overlap is not None and chosen["tile"] is None:
        raise click.UsageError("--overlap goes with --tile")
    if overlap is not None and not 0 <= overlap < 1:
        raise click.UsageError(f"--overlap: expected 0 or more and less than 1, found {overlap}")
    if draw_score is not None and chosen["draw"] is None:
        raise click.UsageError("--draw-score goes with --draw")
    path = weights if weights is not None else checkpoint.find_in_run(run or Path(), epoch)
    annotations, folder = images.pictures()
    world = _processes(gpus, processes, chosen["overrides"])
    launch(
        predict_and_report,
        world,
        Request(
            checkpoint=path,
            annotations=annotations,
            images=folder,
            overlap=tiling.OVERLAP if overlap is None else overlap,
            draw_score=DRAW_SCORE if draw_score is None else draw_score,
            ema=not no_ema,
            size=None if run is None else test_size.read(run),
            device="cpu" if processes else "auto",
            **chosen,
        ),
    )


@main.command(short_help="Find the image size at which a run predicts best.")
@click.argument("run", type=options.PATH)
@options.images_of("val", files_needed=True, about="Their folder.")
@click.option("--epoch", metavar="N|best|last", help="Which checkpoint.  [default: best, else last]")
@click.option("--sizes", metavar="128,160,192", help="Shorter sides to try.  [default: 0.6 to 1.7 times that of RUN]")
@gpus_option
@processes_option
@click.argument("overrides", nargs=-1, metavar="[KEY VALUE]...")
def choose_size(
    run: Path,
    images: AskedFor,
    epoch: str | None,
    sizes: str | None,
    gpus: int,
    processes: int | None,
    overrides: tuple[str, ...],
) -> None:
    """Measure AP by the shorter side at test, and write the best one into RUN, where `predict --run` finds it.

    The images should be none that the run was trained on.

    \b
    Example:
      python -m train choose-size runs/cells --data cells --split val
      python -m train choose-size runs/cells --annotations val.json --images val --sizes 128,160,192
    """
    from train import cpu

    cpu.wait_without_spinning()

    from train.checkpoints import checkpoint
    from train.inference import test_size
    from train.inference.choose_size import Choice, choose_and_report
    from train.processes.launch import launch

    path = checkpoint.find_in_run(run, epoch)
    tried = None if sizes is None else tuple(test_size.sizes_of(sizes))
    device = "cpu" if processes else "auto"
    world = _processes(gpus, processes, overrides)
    launch(choose_and_report, world, Choice(run, path, images.input(), tried, device, overrides))


def _processes(gpus: int, processes: int | None, overrides: tuple[str, ...]) -> World:
    """The processes of --gpus, or those of --processes."""
    from train.processes.launch import World

    device = dict(zip(overrides[::2], overrides[1::2], strict=False)).get("MODEL.DEVICE", "auto")
    if processes is None:
        return World(gpus, device=device)
    if gpus > 1:
        raise click.UsageError("give either --gpus, or --processes for the CPU")
    if device not in ("auto", "cpu"):
        raise click.UsageError(f"--processes uses the CPU, found MODEL.DEVICE {device}")
    return World(processes, device="cpu")


@main.command(short_help="Average the weights of several epochs of a run.")
@click.argument("run", type=options.PATH)
@click.option("--epochs", required=True, metavar="50-56", help="Which epochs; 41,54 and 1-3,7 are possible too.")
@click.option("--output", type=options.PATH, help="Checkpoint to write.  [default: RUN/model_average_50-56.pth]")
def average(run: Path, epochs: str, output: Path | None) -> None:
    """Average the weights of several epochs of a run; the result is a checkpoint like any other.

    A run keeps the checkpoints of its last SOLVER.MAX_TO_KEEP epochs.

    \b
    Example:
      python -m train average runs/r101 --epochs 50-56
      python -m train predict --weights runs/r101/model_average_50-56.pth --data vipriors --split val --output val.json
    """
    from train.checkpoints import average as averaging
    from train.checkpoints import checkpoint

    chosen = averaging.epochs_of(epochs)
    path = output or run / averaging.name_of(chosen)
    with cli.progress_bar("epoch") as progress:
        averaging.average(run, chosen, path, progress)
    click.echo(f"{path}: the average of {len(chosen)} epochs")
    if averaging.has_batch_norm(checkpoint.read(path).content["model"]):
        click.echo("  the statistics of its batch norms are averages too, not those of the averaged weights")


@main.command(short_help="Show what checkpoints were trained from, and on what.")
@click.argument("runs", type=options.PATH, nargs=-1, required=True, metavar="RUN|FILE...")
@click.option("--epoch", metavar="N|best|last", help="Which checkpoint of a run.  [default: best, else last]")
@options.json_output
def lineage(runs: tuple[Path, ...], epoch: str | None, as_json: bool) -> None:
    """Show where a checkpoint comes from, down to random weights, and whether it was trained from scratch.

    \b
    Example:
      python -m train lineage runs/r101
    """
    from train.checkpoints import checkpoint
    from train.checkpoints import lineage as line

    loaded = [checkpoint.read(path if path.is_file() else checkpoint.find_in_run(path, epoch)) for path in runs]
    if as_json:
        click.echo(json.dumps([line.document(item) for item in loaded], indent=1, ensure_ascii=False))
        return
    for item in loaded:
        cli.show(*line.describe(item))


@main.command(short_help="Write a page about runs: curves, mistakes, labels to check.")
@click.argument("runs", type=options.PATH, nargs=-1, required=True, metavar="RUN...")
@click.option("--output", type=options.PATH, help="HTML file to write.  [default: report.html in the first RUN]")
@click.option(
    "--results", type=options.PATH, help="Predictions to judge.  [default: those that the first RUN has kept]"
)
@click.option("--annotations", type=options.PATH, help="COCO annotation file of their images.")
@click.option("--images", type=options.PATH, help="Folder of these images, to show them.")
@click.option(
    "--train-annotations",
    type=options.PATH,
    help="COCO file that RUN was trained on, where it has not kept its counts.",
)
def report(
    runs: tuple[Path, ...],
    output: Path | None,
    results: Path | None,
    annotations: Path | None,
    images: Path | None,
    train_annotations: Path | None,
) -> None:
    """Write a page about runs, a single HTML file: how training went, what the model gets wrong, what to label next.

    Of several runs the curves are compared; the rest is about the first. Nothing is trained or predicted: a training
    with --val keeps the detections of its best epoch, and --results names others.

    \b
    Example:
      python -m train report runs/cells
      python -m train report runs/r18 runs/r50 --output compared.html
      python -m train report runs/cells --results cells_val.json --annotations val.json --images val
    """
    if annotations is None and (results is not None or images is not None):
        raise click.UsageError("--results and --images go with --annotations")
    from train.page import compose

    made = compose.write(compose.Asked(runs, output, results, annotations, images, train_annotations))
    cli.show(f"{made.path}: the page of {', '.join(map(str, runs))}, for a browser", *made.notes)


if __name__ == "__main__":
    cli.run(main, "python -m train")
