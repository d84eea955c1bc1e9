"""The compiler at the paper's size: 10,819 sources to 64,914 images, interrupted, resumed and verified.

Every line runs in processes of its own, one after the other, on the same disk. The sources are a small dataset
repeated, each a file of its own.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import figures
from benchmarks.bench_augment import build_command, draw_jobs, in_empty
from benchmarks.measuring import ROOT, Cost, environment, measure, repeat

PATH = click.Path(path_type=Path)


@click.command()
@click.option("--annotations", multiple=True, type=PATH, required=True)
@click.option("--images", multiple=True, type=PATH, required=True)
@click.option("--count", default=10_819, show_default=True, help="Sources at full size.")
@figures.option
@click.option("--folder", type=PATH, help="Where to work; takes 10 GB at full size.  [default: a temporary one]")
def main(
    annotations: tuple[Path, ...], images: tuple[Path, ...], count: int, folder: Path | None, json_path: Path | None
) -> None:
    """Measure bare, builds of 1/8 to all of the sources, plan, verify, and going on with a killed build (15 minutes).

    \b
    Example:
      python benchmarks/bench_scale.py --annotations instances_train.json --images train
    """
    with tempfile.TemporaryDirectory(prefix="bench-scale-", dir=folder) as name:
        work = Path(name)
        out = work / "OUT"
        data = {size: repeat(annotations, images, size, work / str(size)) for size in sizes(count)}
        whole = data[count]
        print(f"{count:,} sources, {os.cpu_count()} cores", flush=True)
        print(f"{'':<34}{'wall s':>9}{'CPU s':>9}{'parent CPU':>12}{'parent MB':>11}{'worker MB':>11}", flush=True)

        draw_jobs(whole, work / "jobs.json")
        bare = in_empty([str(ROOT / "benchmarks" / "bench_augment.py"), "bare", str(work / "jobs.json")], out)
        show("bare", bare)
        one = in_empty(build_command(whole, 1), out)
        show("build, 1 worker", one, f"CPU {one.cpu / bare.cpu:.3f} x bare (goal <= 1.10)")
        costs = {}
        for size in sizes(count):
            costs[size] = in_empty(build_command(data[size], 2), out)
            per_source = 1000 * costs[size].wall / size
            show(f"build, 2 workers, {size:,} sources", costs[size], f"{per_source:.2f} ms a source")
        small, large = min(costs), max(costs)
        growth = 1000 * (costs[large].memory_first - costs[small].memory_first) / (large - small)
        files = [path for path in out.rglob("*") if path.is_file()]
        written = sum(path.stat().st_size for path in files)
        show("verify, 2 workers", measure(["-m", "augment", "verify", str(out), "--workers", "2"]))
        again = build_command(whole, 2)
        show("build again, all there", measure([str(out) if part == "OUT" else part for part in again]))
        sums = (out / "SHA256SUMS").read_bytes()
        show("plan, 2 workers", measure(["-m", "augment", "plan", *whole, "--workers", "2"]))

        kept = kill_at(again, out, count * 9 // 10)
        show(f"going on, {kept:,} sources kept", measure([str(out) if part == "OUT" else part for part in again]))
        same = (out / "SHA256SUMS").read_bytes() == sums
        images_made = sum(1 for _ in (out / "images").iterdir())
        print(f"\nimages: {images_made:,}; files {len(files):,}, {written:,} bytes")
        print(f"annotation file: {(out / 'annotations' / 'instances.json').stat().st_size:,} bytes")
        print(
            f"2 workers against 1: {one.wall / costs[count].wall:.2f} x; the parent grows by {growth:.1f} kB a source"
        )
        figures.write(
            json_path,
            [
                figures.Figure("build, 2 workers: wall", 1000 * costs[large].wall / large, "ms a source"),
                figures.Figure("the parent grows", growth, "kB a source", most=20),
            ],
        )
        print(f"SHA256SUMS after being killed and gone on with: {'the same' if same else 'DIFFERENT'}")
    if not same:
        raise SystemExit(1)


def sizes(count: int) -> list[int]:
    return [count // 8, count // 4, count // 2, count]


def show(what: str, cost: Cost, note: str = "") -> None:
    print(
        f"{what:<34}{cost.wall:>9.1f}{cost.cpu:>9.1f}{cost.cpu_first:>12.1f}{cost.memory_first:>11.0f}"
        f"{cost.memory_other:>11.0f}  {note}",
        flush=True,
    )


def kill_at(command: list[str], out: Path, sources: int) -> int:
    """Start a build in an empty `out`, and kill it when this many sources are rendered; returns how many were."""
    shutil.rmtree(out)
    arguments = [sys.executable, *(str(out) if part == "OUT" else part for part in command)]
    process = subprocess.Popen(arguments, env=environment(), stdout=subprocess.DEVNULL)
    journal = out.with_name(f"{out.name}.partial") / "journal"
    while not journal.exists() or journal.read_bytes().count(b"\n") < sources:
        if process.poll() is not None:
            raise SystemExit("the build ended before it could be killed")
        time.sleep(0.01)  # a small build renders its last tenth within a moment
    process.send_signal(signal.SIGKILL)
    process.wait()
    return journal.read_bytes().count(b"\n")


if __name__ == "__main__":
    main()
