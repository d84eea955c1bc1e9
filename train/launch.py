"""Run the same function in several processes that know of each other: one a GPU with NCCL, or on the CPU with gloo.

Detectron2's own launcher insists on CUDA.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import pickle
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple, NoReturn

from datasets.errors import DataError

# Reading and checking a large dataset comes before the first exchange.
TIMEOUT = timedelta(hours=2)


class World(NamedTuple):
    """`processes` on each of `machines`, of which this is number `machine`; `url` is where they meet.

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
        """What is wrong with it; None for nothing."""
        if not 0 <= self.machine < self.machines:
            return f"--rank: expected 0 to {self.machines - 1} with --machines {self.machines}, found {self.machine}"
        if self.machines > 1 and self.url is None:
            return "--dist-url: expected the address of machine 0 (tcp://10.0.0.1:29500) with --machines, found none"
        return None


def launch(function: Callable[..., None], world: World, *arguments: Any) -> None:
    """Call `function(*arguments)` in every process of this machine; with one alone, here.

    The first error of any process ends all of them and is raised here. Raises DataError for a `world` that cannot be.
    """
    problem = world.problem()
    if problem is not None:
        raise DataError(problem)
    if world.size == 1:
        function(*arguments)
        return
    url = world.url or f"tcp://127.0.0.1:{free_port()}"
    context = multiprocessing.get_context("spawn")
    children: list[_Child] = []
    for rank in range(world.processes):
        # One pipe each: two errors at a time must not run into one another.
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(rank, world, url, sender, function, arguments))
        process.start()
        sender.close()
        children.append(_Child(process, receiver))
    # They agree among themselves on where to stop; this process only passes on what a cluster sends it.
    before = signal.signal(signal.SIGTERM, lambda *_: _end(children))
    try:
        _wait(children)
    finally:
        signal.signal(signal.SIGTERM, before)
        _end(children)


class _Child(NamedTuple):
    process: Any
    receiver: Any

    def error(self) -> BaseException | None:
        """What it raised, if it could still say so."""
        try:
            found: BaseException | None = pickle.loads(self.receiver.recv_bytes()) if self.receiver.poll() else None
        except EOFError:
            return None
        return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(children: list[_Child]) -> None:
    """Until all are done, or one has failed, whose error is raised."""
    interrupted = False
    while running := [child for child in children if child.process.is_alive()]:
        try:
            sentinels = [child.process.sentinel for child in running]
            ready = multiprocessing.connection.wait([*sentinels, *(child.receiver for child in running)])
            # A long message fits into no pipe: its sender waits until it is read.
            for child in running:
                error = child.error() if child.receiver in ready else None
                if error is not None:
                    raise error
        except KeyboardInterrupt:
            # Ctrl-C reached them as well; they save and end.
            interrupted = True
        if any(child.process.exitcode for child in children):
            break
    failed = [child for child in children if child.process.exitcode]
    for late in (child.error() for child in failed):
        if late is not None:
            raise late
    if interrupted:
        raise KeyboardInterrupt
    if failed:
        raise DataError(
            f"a training process ended with exit code {failed[0].process.exitcode} (-9: killed, as happens when memory "
            "runs out); what it had saved is there, and --resume goes on from it"
        )


def _end(children: list[_Child]) -> None:
    for child in children:
        if child.process.is_alive():
            child.process.terminate()
    for child in children:
        # Time to end a step and save.
        child.process.join(timeout=60)
        if child.process.is_alive():
            child.process.kill()
            child.process.join()


def _work(
    rank: int, world: World, url: str, sender: Any, function: Callable[..., None], arguments: tuple[Any, ...]
) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        join(rank, world, url)
        function(*arguments)
        _part()
    except (DataError, KeyboardInterrupt, SystemExit) as error:
        sender.send_bytes(pickle.dumps(error))
        _leave(error)
    except BaseException:
        # A bug, or a GPU that failed: Python's own end would wait for exchanges that never come.
        traceback.print_exc()
        _leave(SystemExit(1))
    _leave(SystemExit(0))


def _leave(error: BaseException) -> NoReturn:
    """End at once: an orderly end would wait for the other processes, which wait for this one.

    After a good run too: threads of gloo that still hold objects of Python abort a process that shuts down (seen in 4
    of 140 runs; pytorch/pytorch#179291).
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1)


def join(rank: int, world: World, url: str) -> None:
    """Make this process number `rank` of its machine in `world`. Raises DataError where its GPU is missing."""
    import torch
    from torch import distributed

    from train import (
        compat,  # noqa: F401 - before detectron2
        devices,
    )

    # isort: split
    from detectron2.utils import comm

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
        init_method=url,
        world_size=world.size,
        rank=world.machine * world.processes + rank,
        timeout=TIMEOUT,
        # Without it, NCCL guesses which GPU is meant, and says so in a warning.
        device_id=torch.device("cuda", rank) if on_gpu else None,
    )
    # Detectron2 asks for the processes of its own machine.
    for machine in range(world.machines):
        first = machine * world.processes
        group = distributed.new_group(list(range(first, first + world.processes)))
        if machine == world.machine:
            comm._LOCAL_PROCESS_GROUP = group
    # Results are exchanged by gloo, on the CPU, also beside NCCL. Detectron2 would open it at the end of the first
    # epoch; whatever keeps machines from reaching each other should show now.
    comm.all_gather(rank)


def _part() -> None:
    """Wait for the other processes, then let go of them."""
    from torch import distributed

    from train import compat  # noqa: F401 - before detectron2

    # isort: split
    from detectron2.utils import comm

    comm.synchronize()
    distributed.destroy_process_group()


def _end_with_parent() -> None:
    """A parent that was killed cannot end its processes."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
