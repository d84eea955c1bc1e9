"""Package indexes: which releases fit the target machine, their sizes, and their wheels."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import parse_wheel_filename
from packaging.version import Version
from unearth import PackageFinder
from unearth.evaluator import Package, TargetPython
from unearth.link import Link

from datasets.cli import Progress
from datasets.errors import DataError
from scripts.bundling import pip
from scripts.bundling.budget import Budget
from scripts.bundling.resolve import Ask, Release
from scripts.bundling.session import Session, check_trusted
from scripts.bundling.target import Target
from scripts.bundling.wheels import arrived, wheel_name, wheel_requires

SHOWN = 8  # versions of each kind, in an error


class Index:
    """The catalogue of `resolve`: lists with unearth, downloads with pip into `folder`. `build` names packages whose
    wheels may be built here from source, where they have none.
    """

    def __init__(
        self,
        target: Target,
        folder: Path,
        budget: Budget,
        progress: Progress,
        build: frozenset[str] = frozenset(),
    ) -> None:
        settings = pip.pip_settings()
        self.target, self.folder, self.budget, self.progress, self.build = target, folder, budget, progress, build
        self.settings = settings
        self._pip = pip.Pip(settings, target)
        self.wheels: dict[Release, Path] = {}
        self._tags = frozenset(target.tags())
        self._packages: dict[str, Sequence[Package]] = {}
        self._releases: dict[str, list[Release]] = {}
        self._links: dict[Release, Link] = {}
        self._requires: dict[Release, list[Requirement]] = {}
        self._unusable: dict[str, tuple[str, str]] = {}  # file: package name, problem
        indexes = [] if settings.get("no-index", "").lower() in ("1", "true", "yes", "on") else _indexes(settings)
        find_links = settings.get("find-links", "").split()
        self.session = Session(settings, indexes)
        check_trusted(self.session, [*indexes, *find_links])
        self.finder = PackageFinder(
            session=cast(Any, self.session),  # its type differs with the HTTP library
            index_urls=indexes,
            # Like pip, skips a folder that does not exist.
            find_links=[link for link in find_links if "://" in link or Path(link).exists()],
            target_python=TargetPython(target.python, [target.abi], "cp", target.platforms()),
            ignore_compatibility=True,  # so that errors can say what exists for others
        )
        if not indexes:
            self.finder.sources = [source for source in self.finder.sources if source["type"] != "index"]

    def close(self) -> None:
        self.session.close()

    def constraints(self) -> list[Ask]:
        """The constraints in pip's own settings, which pip will enforce."""
        return [ask for path in self.settings.get("constraint", "").split() for ask in pip.read_constraints(Path(path))]

    def _found(self, name: str) -> Sequence[Package]:
        """Every wheel and source distribution that is not yanked, newest version first."""
        if name not in self._packages:
            self.progress("reading the index", len(self._packages), len(self._packages) + 1)
            try:
                packages = self.finder.find_all_packages(name, allow_yanked=True)
                self._packages[name] = [package for package in packages if not package.link.is_yanked]
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise DataError(f"{name}: what the package index says of it cannot be read: {error}") from None
        return self._packages[name]

    def _kind(self, package: Package) -> str:
        """What the target machine can do with a file: "fits", or why not."""
        version = Version(str(package.version))
        if version.is_prerelease:
            return "pre-release"
        if package.link.is_wheel and not self._tags & parse_wheel_filename(package.link.filename)[3]:
            return "for other machines"
        if not _python_fits(package.link.requires_python, self.target):
            return "for other Pythons"
        return "fits" if package.link.is_wheel else "source only"

    def releases(self, name: str) -> Sequence[Release]:
        if name not in self._releases:
            self._releases[name] = self._usable(name)
        return self._releases[name]

    def _usable(self, name: str) -> list[Release]:
        best: dict[Version, Release] = {}
        for package in self._found(name):
            kind = self._kind(package)
            if package.link.filename in self._unusable:
                continue
            if kind == "fits" or (kind == "source only" and name in self.build):
                release = Release(name, Version(str(package.version)), package.link.filename)
                # unearth lists pip's preferred file of a version first, and wheels before sources.
                if release.version not in best:
                    best[release.version] = release
                    self._links[release] = package.link
        return sorted(best.values(), key=lambda release: release.version, reverse=True)

    def size(self, release: Release) -> int | None:
        if release in self.wheels:
            return self.wheels[release].stat().st_size
        link = self._links[release]
        if link.is_file:
            return link.file_path.stat().st_size
        if release.file not in self.session.sizes:
            size = self.session.length(link.normalized)
            if size is None:
                return None
            self.session.sizes[release.file] = size
        return self.session.sizes[release.file]

    def describe(self, name: str) -> str:
        kinds: dict[str, list[str]] = {}
        for package in self._found(name):
            versions = kinds.setdefault(self._kind(package), [])
            if str(package.version) not in versions:
                versions.append(str(package.version))
        wheels = {version for kind in kinds if kind != "source only" for version in kinds[kind]}
        if "source only" in kinds:
            kinds["source only"] = [version for version in kinds["source only"] if version not in wheels]
        said = [f"{kind}: {_some(versions)}" for kind, versions in kinds.items() if versions]
        said += [f"{file}: {why}" for file, (named, why) in self._unusable.items() if named == name]
        return "; ".join(said) or "nothing of that name on the package index"

    # Fetching

    def prepare(self, releases: Sequence[Release]) -> list[Release]:
        missing = [release for release in releases if release not in self.wheels]
        if not missing:
            return []
        if self.budget.limit is not None:
            self.budget.check({release.title: self.size(release) or 0 for release in releases})
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".fetching-") as name:
            fetched = Path(name)
            sources = [release for release in missing if not self._links[release].is_wheel]
            wheels = [release for release in missing if release not in sources]
            before, count = len(self.wheels), len(wheels)
            self._pip.download(
                wheels, fetched, lambda done: self.progress("fetching wheels", before + done, before + count)
            )
            for release in sources:
                self._pip.build_wheel(release, fetched)
            return [release for release in missing if not self._take(release, arrived(fetched))]

    def _take(self, release: Release, found: Mapping[tuple[str, Version], Path]) -> bool:
        """Move its wheel to `self.folder`; False where its METADATA is invalid. Raises DataError without one."""
        path = found.get((release.name, release.version))
        if path is None:
            raise DataError(f"{release.title}: pip fetched {sorted(p.name for p in found.values())} instead")
        if not self._tags & wheel_name(path.name)[2]:
            raise DataError(
                f"{path.name}: expected a wheel for Python {self.target.minor} on {self.target.machine}, found one for "
                "this machine: it is not pure Python; build it on a machine like that one, and name its folder in "
                "PIP_FIND_LINKS"
            )
        try:
            self._requires[release] = wheel_requires(path)
        except InvalidRequirement as error:
            # Some old releases have specifiers that pip no longer accepts; like pip, we try another version.
            self._unusable[release.file] = release.name, f"its METADATA is not valid: {str(error).splitlines()[0]}"
            del self._releases[release.name]
            return False
        self.wheels[release] = self.folder / path.name
        shutil.move(path, self.wheels[release])
        return True

    def requires(self, release: Release) -> Sequence[Requirement]:
        return self._requires[release]


def _indexes(settings: Mapping[str, str]) -> list[str]:
    first = (
        settings.get("index-url") or PackageFinder().sources[0]["url"]
    )  # where nothing is set, unearth's default is pip's
    return [first, *settings.get("extra-index-url", "").split()]


def _python_fits(requires: str | None, target: Target) -> bool:
    try:
        return SpecifierSet(requires or "").contains(target.environment()["python_full_version"], prereleases=True)
    except InvalidSpecifier:
        return True  # as in pip


def _some(versions: Sequence[str]) -> str:
    more = f" and {len(versions) - SHOWN} more" if len(versions) > SHOWN else ""
    return ", ".join(versions[:SHOWN]) + more
