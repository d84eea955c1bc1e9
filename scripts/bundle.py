"""Carry the project to a machine without network: wheels of what it needs and that machine lacks, sources, datasets.

There, run.sh of the bundle installs the wheels into a folder of their own and runs a command with them; nothing that
the machine has is changed.
"""

from __future__ import annotations

import configparser
import json
import re
import shutil
import sys
from collections.abc import Sequence
from contextlib import closing
from importlib import util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that it also runs without PYTHONPATH

from datasets import __version__, cli
from datasets.errors import DataError
from datasets.staging import staging

if TYPE_CHECKING:  # imported where they are used: they need packaging and unearth, which --help does not
    from scripts.bundling.budget import Budget
    from scripts.bundling.contents import Sources
    from scripts.bundling.have import Have
    from scripts.bundling.resolve import Ask, Plan
    from scripts.bundling.target import Target

ROOT = Path(__file__).resolve().parents[1]
CARRIED = Path(__file__).resolve().parent / "bundling"
LARGEST = 5
# unearth only downloads Detectron2's source, and the bundle has Detectron2 itself.
NOT_CARRIED = {"unearth"}
# Pure Python packages that the index has as source only: their wheels are built here. --build names others.
BUILT = frozenset({"fvcore", "antlr4-python3-runtime"})


def needed(wanted: str) -> list[Ask]:
    """The requirements of setup.cfg: install_requires, and for "all" the extra `train`."""
    from packaging.requirements import Requirement

    from scripts.bundling.resolve import Ask

    options = _setup_cfg()
    lines = options["options"]["install_requires"].splitlines()
    if wanted == "all":
        lines += options["options.extras_require"]["train"].splitlines()
    asks = [Ask(Requirement(line), "setup.cfg") for line in lines if line.strip() and not line.startswith("#")]
    return [ask for ask in asks if ask.name not in NOT_CARRIED]


def _setup_cfg() -> configparser.ConfigParser:
    options = configparser.ConfigParser(interpolation=None)
    options.read(ROOT / "setup.cfg", encoding="utf-8")
    return options


def read_target(python: str, machine: str, glibc: str) -> Target:
    """The target machine. Raises click.BadParameter for an invalid version, or a Python that setup.cfg excludes."""
    from packaging.specifiers import SpecifierSet

    from scripts.bundling.target import OLDEST, Target

    if not re.fullmatch(r"3\.[0-9]{1,2}(\.[0-9]{1,2})?", python):
        raise click.BadParameter(f"expected a version like 3.12, found {python!r}", param_hint="--python")
    served = _setup_cfg()["options"]["python_requires"]
    if not SpecifierSet(served).contains(python):
        raise click.BadParameter(f"expected a Python {served} (setup.cfg), found {python}", param_hint="--python")
    oldest = OLDEST[machine]
    if not (match := re.fullmatch(r"2\.([0-9]{1,2})", glibc)) or int(match[1]) < oldest:
        raise click.BadParameter(
            f"expected 2.{oldest} or newer, found {glibc!r}; on that machine, `ldd --version` tells it",
            param_hint="--glibc",
        )
    return Target(tuple(map(int, python.split("."))), machine, int(match[1]))


def check_tools() -> None:
    """Raise DataError where the packages that list indexes are not installed."""
    if missing := [name for name in ("packaging", "unearth") if util.find_spec(name) is None]:
        raise DataError(f"{' and '.join(missing)}: not installed; make setup, or pip install {' '.join(missing)}")


def detectron2_wheel(folder: Path, archive: Path | None) -> Path:
    """Write the pure-Python wheel of Detectron2 into `folder`. Raises DataError."""
    from scripts import install_detectron2 as detectron2

    wheel = folder / detectron2.WHEEL
    fetched = folder / ".detectron2"
    fetched.mkdir()
    try:
        content = detectron2.read_checked(archive or detectron2.download(fetched), detectron2.SHA256)
    finally:
        shutil.rmtree(fetched)
    detectron2.write_wheel(wheel, detectron2.python_files(content))
    return wheel


def rows(wheels: Path) -> list[dict[str, Any]]:
    """Name, version, file and bytes of each wheel, sorted by name."""
    from scripts.bundling.wheels import wheel_name

    found = []
    for path in wheels.iterdir():
        name, version, _ = wheel_name(path.name)
        found.append({"name": name, "version": str(version), "file": path.name, "bytes": path.stat().st_size})
    return sorted(found, key=lambda row: row["file"])


def write_manifest(
    bundle: Path, target: Target, wanted: str, expected: Have, sources: Sources | None, datasets: Sequence[str]
) -> None:
    """Write bundle.json, which check_target.py reads on the target machine. It has no time: same inputs, same bytes."""
    project: dict[str, Any] = {"version": __version__}
    if sources is not None:
        project |= {"commit": sources.commit, "modified": sources.modified}
    manifest = {
        "project": project,
        "for": wanted,
        "python": target.version,
        "machine": target.machine,
        "glibc": f"2.{target.glibc}",
        "wheels": rows(bundle / "wheels"),
        "have": {name: None if version is None else str(version) for name, version in expected.items()},
        "datasets": list(datasets),
    }
    (bundle / "bundle.json").write_text(f"{json.dumps(manifest, indent=1)}\n", encoding="utf-8")


def report(output: Path, plan: Plan, wanted: str) -> None:
    """Print what was written and how to use it."""
    from scripts.bundling.budget import megabytes

    manifest = json.loads((output / "bundle.json").read_bytes())
    wheels = manifest["wheels"]
    total = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    carried = megabytes(sum(row["bytes"] for row in wheels))
    click.echo(f"{output}: {megabytes(total)}; {len(wheels)} wheels for Python {manifest['python']}, {carried}")
    for row in sorted(wheels, key=lambda row: (-row["bytes"], row["file"]))[:LARGEST]:
        click.echo(f"  {megabytes(row['bytes']):>10}  {row['file']}")
    for name, asks in plan.unfit.items():
        click.echo(f"carried although that machine has {name}, which does not fit: {', '.join(map(str, asks))}")
    names = [name if version is None else f"{name}=={version}" for name, version in manifest["have"].items()]
    click.echo(f"expected on that machine: {', '.join(names) or 'Python and its pip, no package'}")
    for name in manifest["datasets"]:
        click.echo(f"dataset: {output / 'datasets' / name}")
    example = "python -m augment build --help" if wanted == "dataset" else "python -m benchmarks.gpu_check"
    click.echo(f"copy the folder there, then: bash {output}/run.sh {example}")


@click.command(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    short_help="Carry the project to a machine without network.",
)
@click.option("--python", required=True, help="Python of that machine, like 3.12.")
@click.option("--have", multiple=True, help="What it has: NAME,NAME==VERSION,... or a file of pip list --format json.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder to make.")
@click.option(
    "--for",
    "wanted",
    type=click.Choice(["all", "dataset"]),
    default="all",
    show_default=True,
    help="All stages; or augment and ensemble, which need no torch.",
)
@click.option(
    "--machine",
    type=click.Choice(["x86_64", "aarch64"]),
    default="x86_64",
    show_default=True,
    help="Its processor, by uname -m.",
)
@click.option("--glibc", default="2.28", show_default=True, help="Its C library, by ldd --version, or an older one.")
@click.option("--smallest", is_flag=True, help="Take the smallest version that fits (to 1 MB) instead of the newest.")
@click.option("--max-mb", type=click.FloatRange(min=0, min_open=True), help="Refuse a larger bundle, in 10^6 bytes.")
@click.option(
    "--constraint",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    multiple=True,
    help="A file in pip's format that bounds what is carried, like constraints.txt.",
)
@click.option("--build", multiple=True, help="More packages to build a pure-Python wheel of, where they have none.")
@click.option(
    "--detectron2-archive",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Detectron2's source archive, if it is here already.",
)
@click.option("--wheels-only", is_flag=True, help="No sources, no datasets: they are there already.")
@click.option("--dataset", "datasets", type=click.Path(path_type=Path), multiple=True, help="A folder to carry along.")
def main(
    python: str,
    have: tuple[str, ...],
    output: Path,
    wanted: str,
    machine: str,
    glibc: str,
    smallest: bool,
    max_mb: float | None,
    constraint: tuple[Path, ...],
    build: tuple[str, ...],
    detectron2_archive: Path | None,
    wheels_only: bool,
    datasets: tuple[Path, ...],
) -> None:
    """Carry the project to a machine without network: OUTPUT gets what it needs and that machine lacks.

    \b
    Example:
      python scripts/bundle.py --python 3.12 --have torch,torchvision,numpy --output bundle
      scp -r bundle cluster: && ssh cluster bash bundle/run.sh python -m train --help
    """
    if wheels_only and datasets:
        raise click.UsageError("expected --wheels-only or --dataset, found both")
    check_tools()
    from packaging.utils import canonicalize_name

    from scripts.bundling import contents
    from scripts.bundling.budget import MB, Budget
    from scripts.bundling.have import read_have

    target = read_target(python, machine, glibc)
    has = read_have(have)
    contents.check_output(output)
    chosen = contents.dataset_items(datasets, output)
    sources = None if wheels_only else contents.project_sources(ROOT)
    items = [*(sources.items if sources else ()), *(item for those in chosen.values() for item in those)]
    fixed = {f"dataset {name}": sum(item.size for item in those) for name, those in chosen.items()}
    fixed["project"] = sum(item.size for item in sources.items) if sources else 0
    budget = Budget(None if max_mb is None else int(max_mb * MB), fixed)
    budget.check({})
    named = [name.strip() for names in build for name in names.split(",")]
    builds = BUILT | frozenset(canonicalize_name(name) for name in named if name)
    with staging(output) as folder, cli.progress_bar("file") as progress:
        plan = gather_wheels(
            folder, target, has, wanted, budget, progress, builds, smallest, constraint, detectron2_archive
        )
        contents.copy(items, folder, progress)
        for name in ("run.sh", "check_target.py"):
            shutil.copy(CARRIED / name, folder / name)
        write_manifest(folder, target, wanted, plan.expected, sources, list(chosen))
        contents.write_sums(folder)
    report(output, plan, wanted)


def gather_wheels(
    folder: Path,
    target: Target,
    have: Have,
    wanted: str,
    budget: Budget,
    progress: cli.Progress,
    build: frozenset[str],
    smallest: bool,
    constraint: Sequence[Path],
    archive: Path | None,
) -> Plan:
    """Fill folder/wheels with the packages that are needed and missing there. Raises DataError."""
    from scripts.bundling.index import Index
    from scripts.bundling.pip import read_constraints
    from scripts.bundling.resolve import Ask, resolve
    from scripts.bundling.wheels import wheel_requires

    wheels = folder / "wheels"
    wheels.mkdir()
    roots = needed(wanted)
    fixed = dict(budget.fixed)
    if wanted == "all" and "detectron2" not in have:
        wheel = detectron2_wheel(wheels, archive)
        roots += [Ask(requirement, "detectron2") for requirement in wheel_requires(wheel)]
        fixed[wheel.name] = wheel.stat().st_size
    with closing(Index(target, wheels, budget._replace(fixed=fixed), progress, build)) as index:
        constraints = [*index.constraints(), *(ask for path in constraint for ask in read_constraints(path))]
        plan = resolve(roots, have, index, target.environment(), constraints, smallest)
    kept = {index.wheels[release] for release in plan.carried.values()}
    for path in set(index.wheels.values()) - kept:  # tried and dropped during resolution
        path.unlink()
    index.budget.check({path.name: path.stat().st_size for path in kept})
    return plan


if __name__ == "__main__":
    cli.run(main, "bundle.py")
