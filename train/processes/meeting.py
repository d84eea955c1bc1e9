"""Where the processes of a run meet, tcp://HOST:PORT, and whether they are those that belong together."""

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

# Seconds. Machines of a cluster begin when they are free.
PATIENCE = 30 * 60.0
# Who waits for longer than that says so.
QUIET = 10.0
# For the others to read what is wrong, before the process leaves that keeps it.
LINGER = 2.0
TIMEOUT = timedelta(minutes=5)


class Place(NamedTuple):
    """A process of a run: the `rank`th of `processes` on the `machine`th of `machines`."""

    machines: int
    processes: int
    machine: int
    rank: int

    @property
    def number(self) -> int:
        return self.machine * self.processes + self.rank


def problem(url: str) -> str | None:
    """What is wrong with the form of an address; None for nothing."""
    try:
        parts = urlsplit(url)
        good = parts.scheme == "tcp" and parts.hostname and parts.port and not (parts.path or parts.query)
    except ValueError:  # a port that is no number, or a bracket that is not closed
        good = None
    return None if good else f"--dist-url: expected tcp://HOST:PORT, found {url}"


def address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 0


def check_address(url: str, *, serves: bool) -> None:
    """Raises DataError for a host that is not known, and where this machine `serves` it, for a port in use."""
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
            # Several may be bound to a port, as long as none listens.
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


def mismatches(places: Collection[Place]) -> list[str]:
    """Why these processes cannot be of one run."""
    first = min(places)
    found = [
        f"machine {place.machine}: --machines {place.machines} --gpus {place.processes}, machine {first.machine}: "
        f"--machines {first.machines} --gpus {first.processes}"
        for place in sorted({place._replace(rank=0) for place in places})
        if place[:2] != first[:2]
    ]
    counts = dict.fromkeys(places, 0)
    for place in places:
        counts[place] += 1
    twice = sorted({place.machine for place, count in counts.items() if count > 1})
    return found + [f"--rank {machine} was given to more than one machine" for machine in twice]


def meet(url: str, place: Place, *, patience: float = PATIENCE) -> TCPStore:
    """The store in which all processes of a run find each other. Raises DataError, in each of them, where they do not
    belong together, and where some do not come within `patience` seconds."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    host, port = address(url)
    serves = place.number == 0
    if not serves:
        _wait_for_server(url, place, patience)
    try:
        store = TCPStore(host, port, is_master=serves, timeout=TIMEOUT, wait_for_workers=False)
    except RuntimeError as error:
        if serves:
            raise DataError(_cannot_serve(url, error)) from None
        raise
    _compare(store, url, place, patience)
    return store


def _wait_for_server(url: str, place: Place, patience: float) -> None:
    """torch would warn of every attempt."""
    begun, said = time.monotonic(), False
    while (trouble := _unreachable(address(url))) is not None:
        waited = time.monotonic() - begun
        if waited > patience:
            raise DataError(
                f"--dist-url {url}: expected machine 0 there, which has not answered for {patience / 60:.0f} minutes: "
                f"{trouble}"
            )
        if waited > QUIET and place.rank == 0 and not said:
            said = True
            cli.note(f"waiting for machine 0 at {url}, so far: {trouble}")
        time.sleep(0.2)


def _unreachable(server: tuple[str, int]) -> str | None:
    try:
        socket.create_connection(server, timeout=QUIET).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _compare(store: TCPStore, url: str, place: Place, patience: float) -> None:
    begun, said = time.monotonic(), False
    store.set(f"place {store.add('places', 1)}", " ".join(map(str, place)))
    places: list[Place] = []
    while len(places) < place.machines * place.processes:
        there = store.add("places", 0)
        new = [store.get(f"place {at}") for at in range(len(places) + 1, there + 1)]
        places += [Place(*map(int, text.decode().split())) for text in new]
        wrong = mismatches(places)
        waited = time.monotonic() - begun
        missing = sorted(set(range(place.machines)) - {other.machine for other in places})
        if wrong or waited > patience:
            if place.number == 0:
                time.sleep(LINGER)
            if wrong:
                raise DataError(f"{url}: the processes that met do not belong together", wrong)
            raise DataError(
                f"{url}: expected {place.machines} machines within {patience / 60:.0f} minutes, found none with --rank "
                + ", ".join(map(str, missing))
            )
        if waited > QUIET and missing and place.number == 0 and not said:
            said = True
            cli.note(f"waiting for the machines with --rank {', '.join(map(str, missing))} at {url}")
        time.sleep(0.05)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
