"""python -m scripts.ladder"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from datasets import cli
from scripts.experiments import options

if TYPE_CHECKING:
    from scripts.experiments import experiment

# Heavy imports are inside the command: `--help` must answer at once.


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@options.of_experiment("ladder", "rung")
@click.option(
    "--settings", metavar="NAME|FILE", help="sample, sample-long, small, paper or a YAML file; else by the data."
)
@click.option("--rungs", default="", metavar="NAME,...", help="Run these only, each as it is in the whole ladder.")
def main(request: experiment.Request, seeds: int, settings: str | None, rungs: str, dry_run: bool) -> None:
    """Run the paper's ladder, rung by rung, and write what each brings: runs/DATA/ladder.md.

    What is finished is kept: the same command continues where it was stopped. A job is run again where its data (any
    byte of images or annotations), rung, settings, recipe, seed, --gpus or the version of scarcedet differ, where its
    results file is gone, or where something that is to be run needs its dataset or checkpoint and that is gone. Changed
    code of the same version, its defaults, other libraries and another machine run nothing again: the page lists all
    that its numbers were made with. Remove a job's folder to have it run again.

    \b
    Example:
      python -m scripts.ladder --data sample --seeds 3 --output runs/sample/ladder
      python -m scripts.ladder --data sample --rungs bn,gn --seeds 1 --dry-run
    """
    from scripts.ladder.ladder import Ladder, Request, listing, run_ladder

    ladder = Ladder(Request(request, settings, seeds, rungs))
    if dry_run:
        click.echo("\n".join(listing(ladder)))
        return
    with cli.progress_bar("job") as progress:
        run_ladder(ladder, cli.above_progress, progress)
    click.echo(f"{request.output}.md: the table; {request.output}.json: the same for programs")


if __name__ == "__main__":
    cli.run(main, "python -m scripts.ladder")
