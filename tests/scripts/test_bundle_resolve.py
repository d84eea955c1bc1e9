"""What scripts/bundle.py decides: versions by a made-up catalogue, tags of a machine, the meaning of --have."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import pytest

pytest.importorskip("unearth", reason="it comes with setup.cfg's extra `train`")

from packaging.requirements import Requirement
from packaging.version import Version

from datasets.errors import DataError
from scripts.bundling.budget import MB, Budget
from scripts.bundling.have import Have, read_have
from scripts.bundling.pip import read_settings
from scripts.bundling.resolve import Ask, Plan, Release, resolve
from scripts.bundling.session import json_sizes
from scripts.bundling.target import Target
from scripts.bundling.wheels import wheel_name

LINUX = Target((3, 12)).environment()


class Catalogue:
    """{"name version": requirements}, sizes of some of them; those in `unusable` turn out so when they are fetched."""

    def __init__(
        self,
        packages: Mapping[str, Sequence[str]],
        sizes: Mapping[str, int] | None = None,
        unusable: Sequence[str] = (),
    ) -> None:
        self.packages, self.sizes, self.unusable = dict(packages), sizes or {}, unusable
        self.fetched: list[str] = []

    def releases(self, name: str) -> list[Release]:
        versions = [Version(title.split()[1]) for title in self.packages if title.split()[0] == name]
        return [Release(name, version, "") for version in sorted(versions, reverse=True)]

    def size(self, release: Release) -> int | None:
        return self.sizes.get(release.title)

    def prepare(self, releases: Sequence[Release]) -> list[Release]:
        bad = [release for release in releases if release.title in self.unusable]
        for release in releases:
            self.fetched += [] if release.title in self.fetched else [release.title]
        for release in bad:
            del self.packages[release.title]
        return bad

    def requires(self, release: Release) -> list[Requirement]:
        return [Requirement(text) for text in self.packages[release.title]]

    def describe(self, name: str) -> str:
        return ", ".join(str(release.version) for release in self.releases(name)) or "nothing"


def asks(*texts: str) -> list[Ask]:
    return [Ask(Requirement(text), "setup.cfg") for text in texts]


def solve(
    catalogue: Catalogue, *roots: str, have: Have | None = None, smallest: bool = False, limits: str = ""
) -> Plan:
    constraints = [Ask(Requirement(limits), "limits")] if limits else []
    return resolve(asks(*roots), have or {}, catalogue, LINUX, constraints, smallest)


def carried(plan: Plan) -> list[str]:
    return [release.title for release in plan.carried.values()]


SIZED = Catalogue(
    {"cv 4.11": [], "cv 4.12": [], "cv 4.14": []}, {"cv 4.11": 50 * MB, "cv 4.12": 50 * MB, "cv 4.14": 62 * MB}
)


def test_newest_by_default_and_the_smallest_where_asked() -> None:
    assert carried(solve(SIZED, "cv>=4")) == ["cv 4.14"]
    assert carried(solve(SIZED, "cv>=4", smallest=True)) == ["cv 4.12"]  # of two with 50 MB the newest
    assert carried(solve(SIZED, "cv>=4.13", smallest=True)) == ["cv 4.14"]
    assert carried(solve(SIZED, "cv>=4,<4.12")) == ["cv 4.11"]


def test_a_megabyte_is_not_worth_an_older_version() -> None:
    packages: dict[str, list[str]] = {"a 1": [], "a 2": [], "a 3": []}
    near = {"a 1": 5 * MB, "a 2": 6 * MB - 1, "a 3": 6 * MB}
    assert carried(solve(Catalogue(packages, near), "a", smallest=True)) == ["a 2"]
    assert carried(solve(Catalogue(packages, {"a 2": 9 * MB}), "a", smallest=True)) == ["a 2"]  # the others: not known
    assert carried(solve(Catalogue(packages), "a", smallest=True)) == ["a 3"]


def test_requirements_of_what_is_carried_are_carried() -> None:
    catalogue = Catalogue({"a 1": ["B_b>=2"], "b-b 1": [], "b-b 2": ["c"], "c 7": [], "d 1": []})
    assert carried(solve(catalogue, "A")) == ["a 1", "b-b 2", "c 7"]


def test_what_is_had_is_not_carried_nor_what_it_needs() -> None:
    catalogue = Catalogue({"a 1": ["torch>=2"], "torch 3": ["sympy"], "sympy 1": []})
    for version in (None, Version("2.11.0+cu130"), Version("2.1.0a0")):
        plan = solve(catalogue, "a", have={"torch": version, "unrelated": None})
        assert carried(plan) == ["a 1"]
        assert plan.expected == {"torch": version}
        assert plan.unfit == {}


def test_had_version_that_does_not_fit_is_carried_and_told() -> None:
    catalogue = Catalogue({"a 1": ["numpy<2"], "numpy 1.9": ["libblas"], "numpy 2.5": [], "libblas 1": []})
    plan = solve(catalogue, "a", "numpy>=1", have={"numpy": Version("2.5.2")})
    assert carried(plan) == ["a 1", "libblas 1", "numpy 1.9"]
    assert {name: [str(ask) for ask in those] for name, those in plan.unfit.items()} == {"numpy": ["<2 (a 1)"]}
    assert plan.expected == {}


def test_local_version_counts_as_its_public_one() -> None:
    catalogue = Catalogue({"torch 2.11.0": []})
    for text in ("torch==2.11.0", "torch<=2.11.0", "torch~=2.11"):
        assert carried(solve(catalogue, text, have={"torch": Version("2.11.0+cu130")})) == []


def test_markers_are_those_of_the_target_machine() -> None:
    markers = {
        "old": 'python_version < "3.11"',
        "new": 'python_version >= "3.12"',
        "full": 'python_full_version >= "3.12.0"',
        "windows": 'sys_platform == "win32"',
        "arm": 'platform_machine == "aarch64"',
        "pypy": 'implementation_name == "pypy"',
        "linux": 'platform_system == "Linux" and os_name == "posix"',
    }
    catalogue = Catalogue({"a 1": [f"{n}; {m}" for n, m in markers.items()], **{f"{n} 1": [] for n in markers}})
    assert carried(solve(catalogue, "a", 'windows; sys_platform == "win32"')) == ["a 1", "full 1", "linux 1", "new 1"]
    arm = resolve(asks("a"), {}, catalogue, Target((3, 10), "aarch64").environment())
    assert carried(arm) == ["a 1", "arm 1", "linux 1", "old 1"]


def test_extras_only_where_they_are_asked_for() -> None:
    catalogue = Catalogue(
        {
            "a 1": ["b", 'c; extra == "fast"', 'd; extra == "slow"'],
            "e 1": ["a[fast]"],
            **{f"{name} 1": [] for name in "bcd"},
        }
    )
    assert carried(solve(catalogue, "a")) == ["a 1", "b 1"]
    assert carried(solve(catalogue, "a", "e")) == ["a 1", "b 1", "c 1", "e 1"]
    assert carried(solve(catalogue, "a[slow,fast]")) == ["a 1", "b 1", "c 1", "d 1"]


def test_later_specifier_has_a_version_chosen_again_and_what_the_old_one_asked_for_dropped() -> None:
    catalogue = Catalogue({"a 1": [], "a 2": ["junk"], "junk 1": ["more"], "more 1": [], "b 1": ["c"], "c 1": ["a<2"]})
    assert carried(solve(catalogue, "a", "b")) == ["a 1", "b 1", "c 1"]
    assert "a 2" in catalogue.fetched


def test_choices_that_exclude_each_other_in_turn_come_to_rest() -> None:
    # a 2 wants an old b, which wants an old a, which takes any b, the newest of which takes any a.
    catalogue = Catalogue({"a 1": ["b"], "a 2": ["b<2"], "b 1": ["a<2"], "b 2": ["a"]})
    assert carried(solve(catalogue, "a")) == ["a 1", "b 2"]


def test_version_that_only_a_dropped_one_excluded_is_had_after_all() -> None:
    # a 2 excludes the only b and is then excluded itself.
    catalogue = Catalogue({"a 1": [], "a 2": ["b>1"], "b 1": [], "c 1": ["d"], "d 1": ["e"], "e 1": ["a<2"]})
    assert carried(solve(catalogue, "a", "b", "c")) == ["a 1", "b 1", "c 1", "d 1", "e 1"]


def test_release_that_turns_out_unusable_is_passed_over() -> None:
    catalogue = Catalogue({"a 1": ["b"], "a 2": [], "b 1": []}, unusable=["a 2"])
    assert carried(solve(catalogue, "a")) == ["a 1", "b 1"]


def test_constraint_bounds_what_is_carried_and_nothing_else() -> None:
    catalogue = Catalogue({"a 1": [], "a 2": []})
    assert carried(solve(catalogue, "a", limits="a==1")) == ["a 1"]
    assert carried(solve(catalogue, "a", limits="b==1")) == ["a 2"]
    assert carried(solve(catalogue, "a", limits="a==1", have={"a": Version("2")})) == []


def test_all_conflicts_are_one_error_with_everyone_who_asked() -> None:
    catalogue = Catalogue({"a 1": ["b<2", "gone"], "b 1": [], "b 3": [], "d 1": ["e @ https://example.org/e.whl"]})
    with pytest.raises(DataError) as caught:
        solve(catalogue, "a", "b>=2", "d", have={"b": Version("1.5")}, limits="b<9")
    lines = str(caught.value).splitlines()
    assert lines[:4] == [
        "no wheel fits, for 3 of the packages",
        "  b: expected >=2 (setup.cfg), <2 (a 1), <9 (limits); found 3, 1; that machine has 1.5",
        "  e: expected any version (d 1) asks for a URL; found nothing",
        "  gone: expected any version (a 1); found nothing",
    ]
    assert "--build b,e,gone" in lines[4]


# The machine


def test_tags_go_down_to_the_oldest_glibc_with_the_older_names_of_some() -> None:
    assert Target((3, 12), glibc=18).platforms() == [
        "manylinux_2_18_x86_64",
        "manylinux_2_17_x86_64",
        "manylinux2014_x86_64",
        *(f"manylinux_2_{minor}_x86_64" for minor in (16, 15, 14, 13, 12)),
        "manylinux2010_x86_64",
        *(f"manylinux_2_{minor}_x86_64" for minor in (11, 10, 9, 8, 7, 6, 5)),
        "manylinux1_x86_64",
        "linux_x86_64",
    ]
    assert Target((3, 12), "aarch64", 17).platforms() == [
        "manylinux_2_17_aarch64",
        "manylinux2014_aarch64",
        "linux_aarch64",
    ]


@pytest.mark.parametrize(
    ("tag", "fits"),
    [
        ("cp312-cp312-manylinux_2_28_x86_64", True),
        ("cp310-abi3-manylinux2014_x86_64", True),
        ("cp312-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64", True),
        ("py2.py3-none-any", True),
        ("py3-none-manylinux_2_17_x86_64", True),
        ("cp313-abi3-manylinux2014_x86_64", False),
        ("cp311-cp311-manylinux_2_28_x86_64", False),
        ("cp312-cp312-manylinux_2_31_x86_64", False),
        ("cp312-cp312-musllinux_1_2_x86_64", False),
        ("cp312-cp312-manylinux_2_28_aarch64", False),
    ],
)
def test_wheels_that_the_machine_takes(tag: str, fits: bool) -> None:
    assert bool(wheel_name(f"a-1-{tag}.whl")[2] & set(Target((3, 12)).tags())) is fits


@pytest.mark.parametrize(
    "file", ["a.whl", "../a-1-py3-none-any.whl", "a-1.tar.gz", "a-x-py3-none-any.whl", ".a-1-py3-none-any.whl"]
)
def test_names_that_are_not_those_of_wheels_are_refused(file: str) -> None:
    with pytest.raises(DataError, match="not the name of a wheel"):
        wheel_name(file)


# --have


def test_have_takes_names_versions_and_files(tmp_path: Path) -> None:
    listing = tmp_path / "there.json"
    listing.write_text(json.dumps([{"name": "Py_YAML", "version": "6.0.1"}, {"name": "own", "version": "1-of mine"}]))
    assert read_have(["torch , Tor_ch.Vision==0.26.0+cu130,", str(listing), "torch==2.11.0"]) == {
        "torch": Version("2.11.0"),
        "tor-ch-vision": Version("0.26.0+cu130"),
        "py-yaml": Version("6.0.1"),
        "own": None,  # no version by PEP 440
    }


@pytest.mark.parametrize("text", ["torch>=2", "torch==new", "to rch", "==1"])
def test_have_that_is_none_of_these_is_wrong_usage(text: str) -> None:
    with pytest.raises(click.BadParameter, match="expected NAME, NAME==VERSION"):
        read_have([text])


@pytest.mark.parametrize("content", ["torch", "{}", "[1]", '[{"name": "torch"}]', '{"a": 1}'])
def test_have_file_of_another_kind_names_the_command_that_makes_one(tmp_path: Path, content: str) -> None:
    path = tmp_path / "there.json"
    path.write_text(content)
    if content == "{}":  # as good as an empty list
        assert read_have([str(path)]) == {}
        return
    with pytest.raises(DataError, match=r"pip list --format json > there\.json"):
        read_have([str(path)])


# pip and sizes


def test_pips_settings_are_taken_from_where_pip_download_has_them() -> None:
    listing = "\n".join(
        [
            ":env:.find-links='/wheels'",
            "download.index-url='three'",
            "freeze.timeout='10'",
            "global.extra-index-url='a b'",
            "global.find-links='nowhere'",
            "global.index-url='two'",
            "install.index-url='one'",
        ]
    )
    assert read_settings(listing) == {"index-url": "three", "extra-index-url": "a b", "find-links": "/wheels"}
    assert read_settings("install.index-url='one'\n:env:.index-url=''") == {"index-url": "one"}


def test_sizes_that_are_none_are_left_out() -> None:
    files = [{"filename": str(size), "size": size} for size in (5, 0, -1, "7", True, None, 1.5)]
    assert json_sizes(json.dumps({"files": files}).encode()) == {"5": 5, "0": 0}
    for page in (b"", b"[]", b'{"files": 3}', b'{"files": [3]}'):
        assert json_sizes(page) == {}


def test_too_large_bundle_names_its_largest_parts_and_the_way_out() -> None:
    with pytest.raises(DataError) as caught:
        Budget(60 * MB, {"dataset d": 10 * MB, "project": MB}).check({"cv 4": 50 * MB, "np 2": 15 * MB})
    lines = str(caught.value).splitlines()
    # 10 + 1 + 50 + 15 = 76
    assert lines[0] == "the bundle would have at least 76.0 MB, expected 60.0 MB at most (--max-mb)"
    assert lines[1:5] == ["  50.0 MB  cv 4", "  15.0 MB  np 2", "  10.0 MB  dataset d", "  1.0 MB  project"]
    assert all(option in lines[5] for option in ("--smallest", "--have", "dataset", "--max-mb"))
    Budget(76 * MB, {"dataset d": 10 * MB, "project": MB}).check({"cv 4": 50 * MB, "np 2": 15 * MB})
    Budget(None, {}).check({"cv 4": 50 * MB})
