"""The meeting point of a run's processes, tcp://HOST:PORT, and whether they belong together."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Collection
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from datasets import cli
from datasets.errors import DataError

if TYPE_CHECKING:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

# Seconds. Machines of a cluster start when they become free.
PATIENCE = 30 * 60.0
# Seconds after which waiting is reported.
QUIET = 10.0
# Seconds for the others to read the error, before the process that serves it leaves.
LINGER = 2.0
TIMEOUT = timedelta(minutes=5)


class Member(NamedTuple):
    """A process of a run: the `rank`th of `processes` on the `machine`th of `machines`."""

    machines: int
    processes: int
    machine: int
    rank: int

    @property
    def number(self) -> int:
        return self.machine * self.processes + self.rank


def problem(url: str) -> str | None:
    """The problem of a malformed address; None for none."""
    try:
        parts = urlsplit(url)
        good = parts.scheme == "tcp" and parts.hostname and parts.port and not (parts.path or parts.query)
    except ValueError:  # a port that is no number, or an unclosed bracket
        good = None
    return None if good else f"--dist-url: expected tcp://HOST:PORT, found {url}"


def address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 0


def check_address(url: str, *, serves: bool) -> None:
    """Raises DataError for an unknown host, and where this machine `serves` the address, for a port in use."""
    host, port = address(url)
    try:
        socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"--dist-url {url}: the host {host} is not known: {why}") from None
    if not serves:
        return
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", port))
            # Several sockets may bind a port, as long as none listens.
            probe.listen()
    except OSError as error:
        raise DataError(_cannot_serve(url, error)) from None


def _cannot_serve(url: str, error: Exception) -> str:
    used = getattr(error, "errno", None) == errno.EADDRINUSE or "EADDRINUSE" in str(error)
    if used:
        return (
            f"--dist-url {url}: the port is in use; if this is not machine 0, give it its own --rank, else choose "
            "another port for all machines"
        )
    return f"--dist-url {url}: cannot be served from here, where --rank is 0: {_first_line(error)}"


def mismatches(members: Collection[Member]) -> list[str]:
    """Why these processes cannot belong to one run."""
    first = min(members)
    found = [
        f"machine {member.machine}: --machines {member.machines} --gpus {member.processes}, machine {first.machine}: "
        f"--machines {first.machines} --gpus {first.processes}"
        for member in sorted({member._replace(rank=0) for member in members})
        if member[:2] != first[:2]
    ]
    counts = dict.fromkeys(members, 0)
    for member in members:
        counts[member] += 1
    twice = sorted({member.machine for member, count in counts.items() if count > 1})
    return found + [f"--rank {machine} was given to more than one machine" for machine in twice]


def meet(url: str, member: Member, *, patience: float = PATIENCE) -> TCPStore:
    """The store through which all processes of a run find each other.

    Raises DataError, in each of them, where they do not belong together, and where some do not arrive within `patience`
    seconds.
    """
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    host, port = address(url)
    serves = member.number == 0
    if not serves:
        _wait_for_server(url, member, patience)
    try:
        store = TCPStore(host, port, is_master=serves, timeout=TIMEOUT, wait_for_workers=False)
    except RuntimeError as error:
        if serves:
            raise DataError(_cannot_serve(url, error)) from None
        raise
    _compare(store, url, member, patience)
    return store


def _wait_for_server(url: str, member: Member, patience: float) -> None:
    """Wait until the server answers; torch would warn about every attempt."""
    begun, said = time.monotonic(), False
    while (trouble := _unreachable(address(url))) is not None:
        waited = time.monotonic() - begun
        if waited > patience:
            raise DataError(
                f"--dist-url {url}: expected machine 0 there, which has not answered for {patience / 60:.0f} minutes: "
                f"{trouble}"
            )
        if waited > QUIET and member.rank == 0 and not said:
            said = True
            cli.note(f"waiting for machine 0 at {url}, so far: {trouble}")
        time.sleep(0.2)


def _unreachable(server: tuple[str, int]) -> str | None:
    try:
        socket.create_connection(server, timeout=QUIET).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _compare(store: TCPStore, url: str, member: Member, patience: float) -> None:
    begun, said = time.monotonic(), False
    store.set(f"place {store.add('places', 1)}", " ".join(map(str, member)))
    members: list[Member] = []
    while len(members) < member.machines * member.processes:
        there = store.add("places", 0)
        new = [store.get(f"place {at}") for at in range(len(members) + 1, there + 1)]
        members += [Member(*map(int, text.decode().split())) for text in new]
        wrong = mismatches(members)
        waited = time.monotonic() - begun
        missing = sorted(set(range(member.machines)) - {other.machine for other in members})
        if wrong or waited > patience:
            if member.number == 0:
                time.sleep(LINGER)
            if wrong:
                raise DataError(f"{url}: the processes that met do not belong together", wrong)
            raise DataError(
                f"{url}: expected {member.machines} machines within {patience / 60:.0f} minutes, found none with "
                "--rank " + ", ".join(map(str, missing))
            )
        if waited > QUIET and missing and member.number == 0 and not said:
            said = True
            cli.note(f"waiting for the machines with --rank {', '.join(map(str, missing))} at {url}")
        time.sleep(0.05)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
