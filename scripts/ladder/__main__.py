"""python -m scripts.ladder"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from datasets import cli

# Heavy imports are inside the command: `--help` must answer at once.


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--data", default="sample", show_default=True, metavar="NAME|FILE", help="Data in datasets/specs/.")
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="Seeds 0, 1, ... of each rung.")
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of all runs; DIR.md and DIR.json are the table.  [default: runs/DATA/ladder]",
)
@click.option(
    "--settings", metavar="NAME|FILE", help="sample, sample-long, small, paper or a YAML file; else by the data."
)
@click.option("--rungs", default="", metavar="NAME,...", help="Run these only, each as it is in the whole ladder.")
@click.option("--jobs", type=click.IntRange(1), help="Commands at a time.  [default: CPU cores, 1 with a GPU]")
@click.option("--gpus", type=click.IntRange(1), default=1, show_default=True, help="GPUs of each training.")
@click.option("--dry-run", is_flag=True, help="List the jobs and which are done; run nothing.")
def main(
    data: str,
    seeds: int,
    output: Path | None,
    settings: str | None,
    rungs: str,
    jobs: int | None,
    gpus: int,
    dry_run: bool,
) -> None:
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
    from scripts.experiments import experiment
    from scripts.ladder.ladder import Ladder, Request, listing, run_ladder

    name = Path(data).stem if Path(data).suffix else Path(data).name
    folder = output or Path("runs") / name / "ladder"
    # The table lies beside the folder, under its name.
    folder = folder.resolve() if folder.name in ("", "..") else folder
    if not folder.name:
        raise click.UsageError(f"--output: expected a folder with a name, found {folder}")
    command = shlex.join(["python", "-m", "scripts.ladder", *sys.argv[1:]])
    request = experiment.Request(data, name, folder, jobs, gpus, command, "ladder")
    ladder = Ladder(Request(request, settings, seeds, rungs))
    if dry_run:
        click.echo("\n".join(listing(ladder)))
        return
    with cli.progress_bar("job") as progress:
        run_ladder(ladder, cli.above_progress, progress)
    click.echo(f"{folder}.md: the table; {folder}.json: the same for programs")


if __name__ == "__main__":
    cli.run(main, "python -m scripts.ladder")
