"""Target machine: the wheel tags that its Python installs and the values of its environment markers."""

from __future__ import annotations

from typing import NamedTuple

from packaging.tags import Tag, compatible_tags, cpython_tags

# PEP 600: the meaning of legacy tags, and the oldest glibc that wheels are built for on each machine.
ALIASES = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
OLDEST = {"x86_64": 5, "aarch64": 17}


class Target(NamedTuple):
    """A CPython on Linux with glibc 2.`glibc`. `python` is (3, 12) or, where it is known, (3, 12, 4)."""

    python: tuple[int, ...]
    machine: str = "x86_64"
    glibc: int = 28

    @property
    def version(self) -> str:
        """As the user gave it: "3.12" or "3.12.4"."""
        return ".".join(map(str, self.python))

    @property
    def minor(self) -> str:
        return ".".join(map(str, self.python[:2]))

    @property
    def abi(self) -> str:
        return f"cp{self.python[0]}{self.python[1]}"

    def platforms(self) -> list[str]:
        """Every platform tag that the machine accepts, newest first: pip matches given tags exactly."""
        tags = []
        for minor in range(self.glibc, OLDEST[self.machine] - 1, -1):
            tags.append(f"manylinux_2_{minor}_{self.machine}")
            if minor in ALIASES:
                tags.append(f"{ALIASES[minor]}_{self.machine}")
        return [*tags, f"linux_{self.machine}"]

    def tags(self) -> list[Tag]:
        """Every wheel tag that the machine accepts, most specific first, the stable ABI and pure Python included."""
        python, platforms = self.python[:2], self.platforms()
        return [
            *cpython_tags(python, [self.abi], platforms),
            *compatible_tags(python, self.abi, platforms),
        ]

    def environment(self) -> dict[str, str]:
        """The values of PEP 508's environment markers there, except `extra`."""
        full = self.version if len(self.python) > 2 else f"{self.version}.0"
        return {
            "implementation_name": "cpython",
            "implementation_version": full,
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": full,
            "python_version": self.minor,
            "sys_platform": "linux",
        }
