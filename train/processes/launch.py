"""Launches a function in several connected processes: one per GPU with NCCL, or on the CPU with gloo.

Detectron2's own launcher requires CUDA.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing import resource_tracker
from typing import Any, NamedTuple, NoReturn

from datasets.errors import DataError
from train.processes import meeting, signals
from train.processes.children import Child, Reporter, report_of, supervise

# Reading and checking a large dataset comes before the first exchange.
TIMEOUT = timedelta(hours=2)


class World(NamedTuple):
    """`processes` on each of `machines`, of which this is number `machine`; `url` is their meeting point.

    `device` is MODEL.DEVICE. Several processes have a GPU each, unless it is cpu.
    """

    processes: int = 1
    machines: int = 1
    machine: int = 0
    url: str | None = None
    device: str = "auto"

    @property
    def size(self) -> int:
        return self.processes * self.machines

    def problem(self) -> str | None:
        """The problem of these values; None for none."""
        if not 0 <= self.machine < self.machines:
            return f"--rank: expected 0 to {self.machines - 1} with --machines {self.machines}, found {self.machine}"
        if self.machines > 1 and self.url is None:
            return "--dist-url: expected the address of machine 0 (tcp://10.0.0.1:29500) with --machines, found none"
        return None if self.url is None else meeting.problem(self.url)


def launch(function: Callable[..., None], world: World, *arguments: Any) -> None:
    """Call `function(*arguments)` in every process of this machine; a single one is this process.

    The first error of any process ends all and is raised here. Raises DataError for an invalid `world`.
    """
    problem = world.problem()
    if problem is not None:
        raise DataError(problem)
    if world.size == 1:
        function(*arguments)
        return
    url = world.url or f"tcp://127.0.0.1:{free_port()}"
    meeting.check_address(url, serves=world.machine == 0)
    context = multiprocessing.get_context("spawn")
    with _quiet_tracker():
        resource_tracker.ensure_running()
    supervise(
        lambda rank: Child(context, _work, (rank, world, url, function, arguments)), world.processes, world.machines
    )


@contextmanager
def _quiet_tracker() -> Iterator[None]:
    """Silence Python's resource tracker, which warns about processes that end abruptly."""
    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join([*([before] if before else []), "ignore:resource_tracker"])
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONWARNINGS"]
        else:
            os.environ["PYTHONWARNINGS"] = before


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _work(
    rank: int, world: World, url: str, function: Callable[..., None], arguments: tuple[Any, ...], reporter: Reporter
) -> NoReturn:
    reporter.obey()
    # Before its first step, there is nothing to save.
    signals.end_by_default()
    try:
        join(rank, world, url)
        function(*arguments)
        _part()
    except KeyboardInterrupt:
        signals.leave_now(130)
    except SystemExit as error:
        signals.leave_now(error.code if isinstance(error.code, int) else 1)
    except BaseException as error:
        reporter.send(report_of(error))
        signals.leave_now(1)
    signals.leave_now(0)


def join(rank: int, world: World, url: str) -> None:
    """Join `world` as process number `rank` of this machine.

    Raises DataError where its GPU is missing, or where the processes do not match.
    """
    import torch

    # `comm` alone needs no compat, which imports all of detectron2.
    from detectron2.utils import comm
    from torch import distributed

    from train import devices

    on_gpu = world.device != "cpu"
    if on_gpu:
        trouble = devices.problem("cuda", devices.find_gpus(), world.processes, world.size)
        if trouble is not None:
            raise DataError(trouble)
        torch.cuda.set_device(rank)
    else:
        torch.set_num_threads(max(1, torch.get_num_threads() // world.processes))
    distributed.init_process_group(
        "nccl" if on_gpu else "gloo",
        store=meeting.meet(url, meeting.Member(world.machines, world.processes, world.machine, rank)),
        world_size=world.size,
        rank=world.machine * world.processes + rank,
        timeout=TIMEOUT,
        # Without it, NCCL guesses the GPU and warns.
        device_id=torch.device("cuda", rank) if on_gpu else None,
    )
    # Detectron2 asks for the process group of its machine.
    for machine in range(world.machines):
        first = machine * world.processes
        group = distributed.new_group(list(range(first, first + world.processes)))
        if machine == world.machine:
            comm._LOCAL_PROCESS_GROUP = group
    # Results are exchanged by gloo on the CPU, also with NCCL. Detectron2 would open it after the first epoch; whatever
    # keeps machines from connecting should show now.
    comm.all_gather(rank)


def _part() -> None:
    """Wait for the other processes, then close the process group."""
    from detectron2.utils import comm
    from torch import distributed

    comm.synchronize()
    distributed.destroy_process_group()
