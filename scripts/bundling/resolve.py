"""Dependency resolution: the versions to bundle, as the fixed point of each other's requirements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from datasets.errors import DataError
from scripts.bundling.budget import MB
from scripts.bundling.have import Have, public

ROUNDS = 1000  # only a guard: see `resolve`


class Ask(NamedTuple):
    """A requirement and its origin: "setup.cfg" or "albumentations 2.0.8"."""

    requirement: Requirement
    by: str

    @property
    def name(self) -> str:
        return canonicalize_name(self.requirement.name)

    def __str__(self) -> str:
        return f"{self.requirement.specifier or 'any version'} ({self.by})"


class Release(NamedTuple):
    """A file of one version that the target machine can install, or that a wheel can be built from."""

    name: str
    version: Version
    file: str

    @property
    def title(self) -> str:
        return f"{self.name} {self.version}"


class Catalogue(Protocol):
    """A source of releases."""

    def releases(self, name: str) -> Sequence[Release]:
        """One per version that fits the target machine, newest first."""

    def size(self, release: Release) -> int | None:
        """Size in bytes; None where unknown."""

    def prepare(self, releases: Sequence[Release]) -> Sequence[Release]:
        """Make their wheels available; returns those that turn out unusable, which `releases` then omits."""

    def requires(self, release: Release) -> Sequence[Requirement]:
        """The requirements of a prepared release, with any markers."""

    def describe(self, name: str) -> str:
        """Every version found, for an error."""


class Plan(NamedTuple):
    """`carried` and `expected` (installed there) by canonical name, sorted; `unfit` are installed there, but bundled
    too.
    """

    carried: dict[str, Release]
    expected: Have
    unfit: dict[str, list[Ask]]


def resolve(
    roots: Sequence[Ask],
    have: Have,
    catalogue: Catalogue,
    environment: Mapping[str, str],
    constraints: Sequence[Ask] = (),
    smallest: bool = False,
) -> Plan:
    """The plan that meets every applicable requirement. Raises DataError with all that cannot be met.

    Each round walks from `roots` through the requirements of the versions chosen so far, and chooses again by all
    specifiers met on the way; so nothing of a dropped version lingers. A version that was chosen and then excluded is
    not chosen again, so this ends: versions are finite, and between two exclusions a choice can only improve.
    """
    chosen: dict[str, Release] = {}
    excluded: dict[str, set[Version]] = defaultdict(set)
    forgiven: set[str] = set()
    limits = _by_name(constraints)
    for _ in range(ROUNDS):
        unusable = catalogue.prepare(list(chosen.values()))
        chosen = {name: release for name, release in chosen.items() if release not in unusable}
        asks = gather(roots, chosen, catalogue, environment)
        picks: dict[str, Release] = {}
        unmet = []
        for name, those in sorted(asks.items()):
            if name in have and not misfits(have[name], those):
                continue
            bounds = [*those, *limits.get(name, ())]
            if name in chosen and misfits(chosen[name].version, bounds):
                excluded[name].add(chosen[name].version)
            pick = choose(catalogue, name, bounds, excluded[name], smallest)
            if pick is None:
                unmet.append(name)
            else:
                picks[name] = pick
        if picks == chosen:
            # The reason for excluding a version may itself be gone; each name gets this second chance once.
            if again := [name for name in unmet if excluded[name] and name not in forgiven]:
                forgiven.update(again)
                for name in again:
                    excluded[name].clear()
                continue
            if unmet:
                raise _conflict(unmet, asks, limits, have, catalogue)
            expected = {name: have[name] for name in sorted(asks) if name in have and name not in picks}
            return Plan(picks, expected, {n: misfits(have[n], asks[n]) for n in picks if n in have})
        chosen = picks
    raise DataError(f"no set of versions was found in {ROUNDS} rounds; name some with --have or --constraint")


def gather(
    roots: Iterable[Ask], chosen: Mapping[str, Release], catalogue: Catalogue, environment: Mapping[str, str]
) -> dict[str, list[Ask]]:
    """Every requirement that applies on the target machine, by name: of the roots and of the versions chosen for
    them.
    """
    asks: dict[str, list[Ask]] = defaultdict(list)
    seen: set[tuple[str, str]] = set()
    queue = [ask for ask in roots if applies(ask.requirement, environment, "")]
    for ask in queue:  # grows meanwhile
        asks[ask.name].append(ask)
        for extra in ["", *sorted(ask.requirement.extras)]:
            if ask.name not in chosen or (ask.name, extra) in seen:
                continue
            seen.add((ask.name, extra))
            release = chosen[ask.name]
            by = release.title if not extra else f"{release.name}[{extra}] {release.version}"
            queue += [
                Ask(requirement, by)
                for requirement in catalogue.requires(release)
                # Requirements without an extra are collected once.
                if applies(requirement, environment, extra) and not (extra and applies(requirement, environment, ""))
            ]
    return asks


def applies(requirement: Requirement, environment: Mapping[str, str], extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({**environment, "extra": extra})


def misfits(version: Version | None, asks: Iterable[Ask]) -> list[Ask]:
    """The requirements that a version does not meet; an unknown version, None, meets all."""
    if version is None:
        return []
    return [ask for ask in asks if not ask.requirement.specifier.contains(public(version), prereleases=True)]


def choose(
    catalogue: Catalogue, name: str, asks: Sequence[Ask], excluded: Iterable[Version], smallest: bool
) -> Release | None:
    """The newest release that meets every requirement; with `smallest`, the newest of the small ones.

    Small is within a megabyte of the smallest: a package of some kilobytes gains nothing from being old.
    """
    if any(ask.requirement.url for ask in asks):
        return None
    fitting = [
        release
        for release in catalogue.releases(name)
        if release.version not in excluded
        and all(ask.requirement.specifier.contains(release.version, prereleases=True) for ask in asks)
    ]
    if not smallest:
        return next(iter(fitting), None)
    sizes = {release: size for release in fitting if (size := catalogue.size(release)) is not None}
    limit = min(sizes.values(), default=0) + MB
    return next((release for release in fitting if not sizes or sizes.get(release, limit) < limit), None)


def _by_name(asks: Iterable[Ask]) -> dict[str, list[Ask]]:
    named: dict[str, list[Ask]] = defaultdict(list)
    for ask in asks:
        named[ask.name].append(ask)
    return named


def _conflict(
    names: Sequence[str],
    asks: Mapping[str, Sequence[Ask]],
    limits: Mapping[str, Sequence[Ask]],
    have: Have,
    catalogue: Catalogue,
) -> DataError:
    problems = []
    for name in names:
        wanted = dict.fromkeys(
            f"{ask} asks for a URL" if ask.requirement.url else str(ask) for ask in [*asks[name], *limits.get(name, ())]
        )
        had = f"; that machine has {have[name]}" if name in have else ""
        problems.append(f"{name}: expected {', '.join(wanted)}; found {catalogue.describe(name)}{had}")
    return DataError(
        f"no wheel fits, for {len(names)} of the packages",
        problems,
        advice="Install such a package on that machine and name it in --have; or let a pure-Python one be built from "
        f"its source, --build {','.join(names)}; or put a wheel of it in a folder and name that in PIP_FIND_LINKS. "
        "Where versions exclude each other, leave out --smallest or name other versions by --constraint FILE.",
    )
