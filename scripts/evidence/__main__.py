"""python -m scripts.evidence"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from datasets import cli
from scripts.experiments import options

if TYPE_CHECKING:
    from datasets.spec import SplitName
    from scripts.experiments import experiment

# Heavy imports are inside the command: `--help` must answer at once.


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@options.of_experiment("evidence", "training")
@click.option(
    "--list",
    "arms_list",
    default="arms",
    show_default=True,
    metavar="NAME|DIR",
    help="arms, causes or a folder of YAML.",
)
@click.option("--arms", default="", metavar="NAME,...", help="Run these only.")
@click.option("--images", default="", metavar="N,...", help="Of the settings' numbers of images, these only; 0 is all.")
@click.option("--lengths", default="", metavar="N,...", help="Of the settings' lengths, these only.")
@click.option("--split", type=click.Choice(["val", "test"]), default="val", show_default=True, help="Measured on.")
@click.option(
    "--settings", metavar="NAME|FILE", help="bccd, photographs, sample, small or a YAML file; else by the data."
)
@click.option(
    "--remove-checkpoints",
    is_flag=True,
    help="... once all that was asked for has been predicted by them: 150 MB each.",
)
def main(
    request: experiment.Request,
    seeds: int,
    arms_list: str,
    arms: str,
    images: str,
    lengths: str,
    split: SplitName,
    settings: str | None,
    remove_checkpoints: bool,
    dry_run: bool,
) -> None:
    """Train arms, each a way to make the data or to train, on 25, 50, 100 and all images, for equally many steps, and
    compare them on the validation images: runs/DATA/evidence.md, .json and two pictures.

    Every difference has the interval of a paired bootstrap over images and seeds. What is finished is kept, as in
    `python -m scripts.ladder`: the same command continues, and one with more seeds or arms adds to it.

    \b
    Example:
      python -m scripts.evidence --data bccd --seeds 1 --arms original,scarce
      python -m scripts.evidence --data mine.yaml --settings small --images 100,0 --dry-run
    """
    from scripts.evidence.evidence import Evidence, Request, run_evidence
    from scripts.experiments.experiment import listing

    request = request._replace(split=split, keep_checkpoints=not remove_checkpoints)
    counts, times = _numbers(images, "--images"), _numbers(lengths, "--lengths")
    evidence = Evidence(Request(request, arms_list, settings, seeds, arms, counts, times))
    if dry_run:
        click.echo("\n".join(listing(evidence.experiment, evidence.chosen)))
        return
    with cli.progress_bar("job") as progress:
        run_evidence(evidence, cli.above_progress, progress)
    click.echo(f"{evidence.page}.md: the tables; .json: the same for programs; -images.svg, -steps.svg: pictures")


def _numbers(text: str, option: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if wrong := [part for part in parts if not part.isdecimal() or len(part) > 9]:
        raise click.BadParameter(
            f"expected numbers with commas between them, found {', '.join(wrong)}", param_hint=option
        )
    return tuple(map(int, parts))


if __name__ == "__main__":
    cli.run(main, "python -m scripts.evidence")
