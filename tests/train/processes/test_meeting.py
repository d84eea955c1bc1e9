"""Where processes meet: addresses that cannot be, and processes that do not belong together."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from datasets.errors import DataError
from train.processes import meeting
from train.processes.launch import free_port
from train.processes.meeting import Member, check_address, meet, mismatches, problem


@pytest.mark.parametrize(
    "url", ["tcp://10.0.0.1:29500", "tcp://node-1:1", "tcp://[fe80::1]:65535", "tcp://node-1.example:29500"]
)
def test_an_address(url: str) -> None:
    assert problem(url) is None


@pytest.mark.parametrize(
    "url",
    [
        *("nonsense", "", "10.0.0.1:29500", "http://10.0.0.1:29500", "file:///tmp/meet", "env://", "tcp://:29500"),
        *("tcp://10.0.0.1", "tcp://10.0.0.1:0", "tcp://10.0.0.1:65536", "tcp://10.0.0.1:port", "tcp://[::1:29500"),
        "tcp://10.0.0.1:29500/path",
    ],
)
def test_what_is_no_address(url: str) -> None:
    assert problem(url) == f"--dist-url: expected tcp://HOST:PORT, found {url}"


@pytest.fixture
def port() -> Iterator[int]:
    """One that somebody else listens on."""
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        yield other.getsockname()[1]


def test_a_host_that_nobody_knows() -> None:
    # RFC 2606 keeps this name free.
    with pytest.raises(DataError, match=r"--dist-url tcp://nobody\.invalid:1: the host nobody\.invalid is not known"):
        check_address("tcp://nobody.invalid:1", serves=False)


def test_a_port_in_use(port: int) -> None:
    check_address(f"tcp://127.0.0.1:{port}", serves=False)
    with pytest.raises(DataError, match="the port is in use; if this is not machine 0, give it its own --rank"):
        check_address(f"tcp://127.0.0.1:{port}", serves=True)
    # Somebody else was faster.
    with pytest.raises(DataError, match="the port is in use"):
        meet(f"tcp://127.0.0.1:{port}", Member(1, 1, 0, 0))


A, B = Member(2, 1, 0, 0), Member(2, 1, 1, 0)


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([A, B], []),
        ([Member(1, 2, 0, 1), Member(1, 2, 0, 0)], []),
        ([A, B, B], ["--rank 1 was given to more than one machine"]),
        (
            [Member(3, 1, 2, 0), A, B._replace(processes=4)],
            [
                "machine 1: --machines 2 --gpus 4, machine 0: --machines 2 --gpus 1",
                "machine 2: --machines 3 --gpus 1, machine 0: --machines 2 --gpus 1",
            ],
        ),
    ],
)
def test_processes_that_do_not_belong_together(members: list[Member], expected: list[str]) -> None:
    assert mismatches(members) == expected


def all_meet(*members: Member, patience: float = 60) -> list[str]:
    """What each of these processes, here threads, is told: nothing, or what is wrong."""
    url = f"tcp://127.0.0.1:{free_port()}"

    def one(member: Member) -> str:
        try:
            meet(url, member, patience=patience)
        except DataError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor() as threads:
        return list(threads.map(one, members))


def test_those_that_belong_together_meet() -> None:
    assert all_meet(A, B) == ["", ""]


def test_all_are_told_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "LINGER", 0.5)
    told = all_meet(A, B._replace(machines=3))
    assert told[0] == told[1]
    assert "machine 1: --machines 3 --gpus 1, machine 0: --machines 2 --gpus 1" in told[0]


def test_whoever_does_not_come_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "LINGER", 0.0)
    assert "expected 2 machines within 0 minutes, found none with --rank 1" in all_meet(A, patience=0.1)[0]
    assert (
        "expected machine 0 there, which has not answered for 0 minutes: Connection refused"
        in all_meet(B, patience=0.1)[0]
    )
