"""Package indexes: which releases there are and how large they are; pip, which fetches them, and what is in a wheel."""

from __future__ import annotations

import ast
import email
import json
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version
from unearth import PackageFinder
from unearth.auth import MultiDomainBasicAuth
from unearth.collector import is_secure_origin
from unearth.evaluator import Package, TargetPython
from unearth.fetchers.sync import PyPIClient
from unearth.link import Link

from datasets.errors import DataError
from datasets.terminal import Progress
from scripts.bundling.budget import Budget
from scripts.bundling.resolve import Ask, Release
from scripts.bundling.target import Target

MAX_METADATA = 2**24  # bytes; the largest have some hundred kB
SHOWN = 8  # versions of each kind, in an error
FIXED_TIME = "315532800"  # 1980, the first year a zip file can hold: a wheel built twice has the same bytes


# pip's settings


def pip_settings() -> dict[str, str]:
    """What pip's files and PIP_ variables say, by the name of the option. Raises DataError without pip."""
    done = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DataError(f"pip cannot be run: {_last_words(done.stderr.splitlines())}; make setup installs it")
    return read_settings(done.stdout)


def read_settings(listing: str) -> dict[str, str]:
    """The output of `pip config list`, each option once, from where pip download would take it.

    Those of `pip install` count too, as far as nothing else is said: that is where an index is often set.
    """
    sections = ("install", "global", "download", ":env:")
    found: dict[str, dict[str, str]] = {section: {} for section in sections}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        section, _, option = key.rpartition(".")
        if section in found:
            found[section][option] = str(ast.literal_eval(value))
    return {option: value for section in sections for option, value in found[section].items() if value}


def read_constraints(path: Path) -> list[Ask]:
    """A file in pip's constraint format; its lines that name a version of a package. Raises DataError."""
    asks = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        text = line.partition(" #")[0].strip()
        if not text or text.startswith(("#", "-")):
            continue
        try:
            asks.append(Ask(Requirement(text), f"{path.name}, line {number}"))
        except InvalidRequirement:
            raise DataError(f"{path}, line {number}: expected a requirement like name==1.0, found {text!r}") from None
    return asks


class _Session(PyPIClient):
    """unearth's HTTP client with pip's settings; keeps the sizes that JSON pages (PEP 700) tell and unearth drops."""

    def __init__(self, settings: Mapping[str, str], index_urls: Sequence[str]) -> None:
        options: dict[str, Any] = {"follow_redirects": True, "timeout": float(_timeout(settings))}
        if "cert" in settings:
            options["verify"] = ssl.create_default_context(cafile=settings["cert"])
        if "proxy" in settings:
            options["proxy"] = settings["proxy"]
        super().__init__(trusted_hosts=settings.get("trusted-host", "").split(), **options)
        self.auth = MultiDomainBasicAuth(index_urls=list(index_urls))
        self.sizes: dict[str, int] = {}

    def get(self, url: Any, **options: Any) -> Any:
        shown = Link(str(url)).redacted
        try:
            response = super().get(url, **options)
        except Exception as error:  # those of whichever HTTP library this unearth stands on
            raise DataError(f"{shown}: no answer: {str(error) or type(error).__name__}") from None
        if response.status_code in (401, 403, 407) or response.status_code >= 500:
            raise DataError(f"{shown}: expected a page of an index, found HTTP status {response.status_code}")
        if "json" in response.headers.get("Content-Type", ""):
            self.sizes |= json_sizes(response.content)
        return response

    def length(self, url: str) -> int | None:
        """The size of a file that a server states; None where it states none."""
        try:
            response = self.head(url)
        except Exception:  # as in get; a size that stays unknown is no failure
            return None
        length = response.headers.get("Content-Length", "") if response.status_code == 200 else ""
        return int(length) if length.isascii() and length.isdigit() else None


def check_trusted(session: _Session, urls: Sequence[str]) -> None:
    """Raise DataError for an index that pip would pass over, with a warning that nobody sees here."""
    for url in urls:
        link = Link(url)
        if link.parsed.scheme == "http" and not is_secure_origin(cast(Any, session), link):
            raise DataError(
                f"{link.redacted}: expected https, which pip wants of an index; "
                f"PIP_TRUSTED_HOST={link.parsed.hostname} allows this one"
            )


def _timeout(settings: Mapping[str, str]) -> str:
    text = settings.get("timeout", settings.get("default-timeout", ""))
    return text if text.isascii() and text.isdigit() else "15"  # pip's own default


def json_sizes(page: bytes) -> dict[str, int]:
    """Sizes of the files on a JSON page of an index; what is no size is left out."""
    try:
        files = json.loads(page)["files"]
        sizes = {file["filename"]: file.get("size") for file in files}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}
    return {name: size for name, size in sizes.items() if type(size) is int and size >= 0}


# The index


class Index:
    """The catalogue of `resolve`: lists with unearth, fetches with pip into `folder`.

    `build` names the packages of which a wheel may be built here from their source, where they have none.
    """

    def __init__(
        self,
        target: Target,
        folder: Path,
        budget: Budget,
        progress: Progress,
        build: frozenset[str] = frozenset(),
    ) -> None:
        settings = pip_settings()
        self.target, self.folder, self.budget, self.progress, self.build = target, folder, budget, progress, build
        self.settings = settings
        self.wheels: dict[Release, Path] = {}
        self._tags = frozenset(target.tags())
        self._packages: dict[str, Sequence[Package]] = {}
        self._releases: dict[str, list[Release]] = {}
        self._links: dict[Release, Link] = {}
        self._requires: dict[Release, list[Requirement]] = {}
        self._unusable: dict[str, tuple[str, str]] = {}  # file: name of the package, what is wrong
        indexes = [] if settings.get("no-index", "").lower() in ("1", "true", "yes", "on") else _indexes(settings)
        find_links = settings.get("find-links", "").split()
        self.session = _Session(settings, indexes)
        check_trusted(self.session, [*indexes, *find_links])
        self.finder = PackageFinder(
            session=cast(Any, self.session),  # its type differs with the HTTP library
            index_urls=indexes,
            # As pip does, a folder that is not there is passed over.
            find_links=[link for link in find_links if "://" in link or Path(link).exists()],
            target_python=TargetPython(target.python, [target.abi], "cp", target.platforms()),
            ignore_compatibility=True,  # so that an error can say what there is for others
        )
        if not indexes:
            self.finder.sources = [source for source in self.finder.sources if source["type"] != "index"]

    def close(self) -> None:
        self.session.close()

    def constraints(self) -> list[Ask]:
        """Those of pip's own settings, which pip will hold us to."""
        return [ask for path in self.settings.get("constraint", "").split() for ask in read_constraints(Path(path))]

    def _found(self, name: str) -> Sequence[Package]:
        """Every wheel and source distribution that is not withdrawn, of the newest version first."""
        if name not in self._packages:
            self.progress("reading the index", len(self._packages), len(self._packages) + 1)
            try:
                packages = self.finder.find_all_packages(name, allow_yanked=True)
                self._packages[name] = [package for package in packages if not package.link.is_yanked]
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise DataError(f"{name}: what the package index says of it cannot be read: {error}") from None
        return self._packages[name]

    def _kind(self, package: Package) -> str:
        """What the target machine can do with a file: "fits" or why not."""
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
                # unearth puts the file that pip prefers first among those of a version, and wheels before sources.
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
            self._download(wheels, fetched, len(self.wheels))
            for release in sources:
                self._build_wheel(release, fetched)
            return [release for release in missing if not self._take(release, arrived(fetched))]

    def _download(self, releases: Sequence[Release], folder: Path, before: int) -> None:
        if not releases:
            return
        words = ["download", "--only-binary=:all:", "--python-version", self.target.version]
        words += ["--implementation", "cp", "--abi", self.target.abi]
        words += [word for platform in self.target.platforms() for word in ("--platform", platform)]
        words += ["--dest", str(folder), *(f"{release.name}=={release.version}" for release in releases)]
        with self._pip(words, "cannot be downloaded") as lines:
            begun = 0
            for line in lines:
                begun += line.startswith("Collecting ")
                self.progress("fetching wheels", before + max(begun - 1, 0), before + len(releases))

    def _build_wheel(self, release: Release, folder: Path) -> None:
        # pip's cache may hold one that was built at another time, with other bytes.
        words = ["wheel", "--no-cache-dir", "--no-binary", release.name, "--wheel-dir", str(folder)]
        with self._pip([*words, f"{release.name}=={release.version}"], f"{release.title} cannot be built") as lines:
            for _ in lines:
                pass

    @contextmanager
    def _pip(self, words: Sequence[str], failure: str) -> Iterator[Iterator[str]]:
        """The lines that a run of pip prints. Raises DataError with the last of them where it fails."""
        command = [sys.executable, "-m", "pip", *words[:1], "--no-deps", "--progress-bar", "off", *words[1:]]
        variables = {f"PIP_{option.upper().replace('-', '_')}": value for option, value in self.settings.items()}
        environment = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1", "SOURCE_DATE_EPOCH": FIXED_TIME}
        # Where pip download would not look itself: an index that is set for pip install.
        for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
            if name in variables:
                environment[name] = variables[name]
        said: list[str] = []

        def heard() -> Iterator[str]:
            assert pip.stdout is not None  # it is a pipe
            for line in pip.stdout:
                said.append(line.rstrip())
                yield line

        with subprocess.Popen(
            command,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as pip:
            try:
                yield heard()
            except BaseException:
                pip.terminate()
                raise
        if pip.returncode:
            raise DataError(f"{failure}: {_last_words(said)}")

    def _take(self, release: Release, found: Mapping[tuple[str, Version], Path]) -> bool:
        """Move its wheel to `self.folder`; False where its METADATA is not valid. Raises DataError without one."""
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
            # Some old releases have specifiers that pip no longer takes; like pip, we go on to another version.
            self._unusable[release.file] = release.name, f"its METADATA is not valid: {str(error).splitlines()[0]}"
            del self._releases[release.name]
            return False
        self.wheels[release] = self.folder / path.name
        shutil.move(path, self.wheels[release])
        return True

    def requires(self, release: Release) -> Sequence[Requirement]:
        return self._requires[release]


def _indexes(settings: Mapping[str, str]) -> list[str]:
    first = settings.get("index-url") or PackageFinder().sources[0]["url"]  # where nothing is set, unearth's is pip's
    return [first, *settings.get("extra-index-url", "").split()]


def _python_fits(requires: str | None, target: Target) -> bool:
    try:
        return SpecifierSet(requires or "").contains(target.environment()["python_full_version"], prereleases=True)
    except InvalidSpecifier:
        return True  # as pip has it


def _some(versions: Sequence[str]) -> str:
    more = f" and {len(versions) - SHOWN} more" if len(versions) > SHOWN else ""
    return ", ".join(versions[:SHOWN]) + more


def _last_words(lines: Sequence[str]) -> str:
    """The last error among the lines that pip printed, else the last line."""
    said = [line for line in lines if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in said if line.startswith("ERROR: ")]
    return (errors or said or ["it said nothing"])[-1].strip()


# Wheels


def arrived(folder: Path) -> dict[tuple[str, Version], Path]:
    """The wheels in a folder by canonical name and version. Raises DataError for what is none."""
    return {wheel_name(path.name)[:2]: path for path in folder.iterdir()}


def wheel_name(file: str) -> tuple[str, Version, frozenset[Tag]]:
    """(canonical name, version, tags) of a wheel's file name. Raises DataError."""
    try:
        name, version, _, tags = parse_wheel_filename(file)
    except (InvalidWheelFilename, InvalidVersion) as error:
        raise DataError(f"{file!r}: not the name of a wheel: {error}") from None
    if "/" in file or "\\" in file or file.startswith("."):
        raise DataError(f"{file!r}: not the name of a wheel: it is a path")
    return name, version, tags


def wheel_requires(wheel: Path) -> list[Requirement]:
    """What a wheel's METADATA requires, whatever the markers. Raises DataError, or InvalidRequirement."""
    name, version, _ = wheel_name(wheel.name)
    try:
        with zipfile.ZipFile(wheel) as file:
            [info] = [
                member
                for member in file.infolist()
                if member.filename.count("/") == 1 and member.filename.endswith(".dist-info/METADATA")
            ]
            if info.file_size > MAX_METADATA:
                raise DataError(
                    f"{wheel.name}: its METADATA has {info.file_size} bytes, expected {MAX_METADATA} at most"
                )
            message = email.message_from_bytes(file.read(info))
        found = canonicalize_name(message["Name"] or ""), Version(message["Version"] or "")
    except (zipfile.BadZipFile, RuntimeError, ValueError) as error:
        raise DataError(f"{wheel.name}: its METADATA cannot be read: {error}; remove it from pip's cache") from None
    if found != (name, version):
        raise DataError(f"{wheel.name}: its METADATA is that of {found[0]} {found[1]}")
    return [Requirement(text) for text in message.get_all("Requires-Dist", [])]
