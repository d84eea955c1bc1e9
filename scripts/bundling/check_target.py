"""Checks on the target machine, run by run.sh. Standard library only, for any Python 3."""

import json
import platform
import re
import sys
from pathlib import Path
from typing import Any


def python_problem(bundle: Any) -> str:
    """What is wrong with the running Python; "" for nothing."""
    found = f"{sys.version_info[0]}.{sys.version_info[1]}"
    wanted = ".".join(bundle["python"].split(".")[:2])
    if found != wanted:
        return (
            f"expected Python {wanted}, which the wheels of this bundle are for, found {found} ({sys.executable}); "
            f"name the other one: PYTHON=/path/to/python{wanted} sh run.sh ..., or make a bundle with --python {found}"
        )
    machine = platform.machine()
    if machine != bundle["machine"]:
        return (
            f"expected a machine of kind {bundle['machine']}, found {machine}; make a bundle with --machine {machine}"
        )
    name, glibc = platform.libc_ver()
    if name == "glibc" and numbers(glibc) < numbers(bundle["glibc"]):
        return f"expected glibc {bundle['glibc']} or newer, found {glibc}; make a bundle with --glibc {glibc}"
    return ""


def numbers(version: str) -> Any:
    return [int(part) for part in version.split(".")[:2]]


def packages_problem(bundle: Any) -> str:
    """Which packages that the bundle expects are missing; "" for none."""
    from importlib import metadata

    names = [item.metadata["Name"] for item in metadata.distributions()]
    there = {re.sub(r"[-_.]+", "-", name).lower() for name in names if name}
    missing = [name for name in sorted(bundle["have"]) if name not in there]
    if not missing:
        return ""
    return (
        f"this bundle counts on packages that {sys.executable} does not have: {', '.join(missing)}; "
        "name the Python that has them: PYTHON=/path/to/python3 sh run.sh ..., "
        "or make a bundle without them in --have"
    )


def main() -> int:
    bundle = json.loads((Path(__file__).resolve().parent / "bundle.json").read_text(encoding="utf-8"))
    problem = python_problem(bundle) or (packages_problem(bundle) if "packages" in sys.argv[1:] else "")
    if problem:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main())
