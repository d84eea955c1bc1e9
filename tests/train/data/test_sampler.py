"""Which images make which batch: rules that hold for every seed, batch, division and place to go on from."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train.data.sampler import WINDOW, BatchSampler, Division, Key, generator, shuffled, window_of


class Run(NamedTuple):
    """What a sampler is made of; `tall` None means that nothing is grouped."""

    images: int
    division: Division
    seed: int
    tall: npt.NDArray[np.bool_] | None

    @property
    def window(self) -> int:
        return window_of(self.images, self.division.batch)

    def parts(self, last: int, *, rank: int = 0, first: int = 0) -> list[list[Key]]:
        return list(self.sampler(last, rank=rank, first=first))

    def sampler(self, last: int, *, rank: int = 0, first: int = 0) -> BatchSampler:
        return BatchSampler(
            images=self.images,
            division=self.division,
            seed=self.seed,
            rank=rank,
            first=first,
            last=last,
            tall=self.tall,
        )

    def iterations(self, last: int) -> list[list[Key]]:
        """The keys that all processes work on, in all their turns, in each iteration."""
        turns = self.division.accumulate
        found: list[list[Key]] = [[] for _ in range(last)]
        for rank in range(self.division.processes):
            for at, part in enumerate(self.parts(last, rank=rank)):
                found[at // turns] += part
        return found


@st.composite
def runs(draw: st.DrawFn, grouped: bool | None = None) -> Run:
    images = draw(st.integers(1, 50))
    processes, accumulate, part = draw(st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3)))
    tall = draw(st.lists(st.booleans(), min_size=images, max_size=images))
    if grouped is None:
        grouped = draw(st.booleans())
    division = Division(processes * accumulate * part, processes, accumulate)
    return Run(images, division, draw(st.integers(0, 2**63)), np.array(tall) if grouped else None)


def flat(parts: list[list[Key]]) -> list[Key]:
    return [key for part in parts for key in part]


@settings(deadline=None, max_examples=50)
@given(runs(grouped=False))
def test_ungrouped_epochs_follow_each_other_with_every_image_once(run: Run) -> None:
    run = run._replace(division=Division(run.division.batch))
    count = -(-3 * run.images // run.division.batch)  # iterations that three epochs take

    keys = flat(run.parts(count))

    for epoch in range(3):
        place = epoch * run.images
        assert sorted(keys[place : place + run.images]) == [Key(epoch, image) for image in range(run.images)]


@settings(deadline=None, max_examples=50)
@given(runs(), st.integers(1, 3))
def test_in_whole_windows_every_image_comes_exactly_once_an_epoch(run: Run, windows: int) -> None:
    taken = windows * run.window * run.division.batch
    whole, rest = divmod(taken, run.images)

    counts = Counter(flat(run.iterations(windows * run.window)))

    # All of the whole epochs, the beginning of the next one, nothing twice.
    assert set(counts.values()) == {1}
    assert Counter(key.epoch for key in counts) == Counter(
        dict.fromkeys(range(whole), run.images) | ({whole: rest} if rest else {})
    )
    begun = {key.image for key in counts if key.epoch == whole}
    assert begun == set(shuffled(run.images, run.seed, whole)[:rest].tolist())


@settings(deadline=None, max_examples=50)
@given(runs(), st.integers(1, 2 * WINDOW + 3))
def test_no_two_processes_get_the_same_image_of_the_same_epoch(run: Run, last: int) -> None:
    keys = flat(run.iterations(last))

    assert len(keys) == last * run.division.batch
    assert len(set(keys)) == len(keys)


@settings(deadline=None, max_examples=50)
@given(runs(grouped=False), st.integers(1, 2 * WINDOW + 3))
def test_processes_and_turns_share_the_batch_that_one_process_would_have(run: Run, last: int) -> None:
    alone = run._replace(division=Division(run.division.batch))

    assert [set(keys) for keys in run.iterations(last)] == [set(part) for part in alone.parts(last)]


@settings(deadline=None, max_examples=50)
@given(runs(grouped=True), st.integers(1, 2))
def test_grouped_they_share_the_windows_that_one_process_would_have(run: Run, windows: int) -> None:
    alone = run._replace(division=Division(run.division.batch))
    shared, single = run.iterations(windows * run.window), alone.parts(windows * run.window)

    for at in range(0, windows * run.window, run.window):
        assert set(flat(shared[at : at + run.window])) == set(flat(single[at : at + run.window]))


@settings(deadline=None, max_examples=100)
@given(runs(), st.data())
def test_going_on_anywhere_gives_the_tail_of_the_whole(run: Run, data: st.DataObject) -> None:
    last = data.draw(st.integers(1, 3 * WINDOW), "last")
    first = data.draw(st.integers(0, last), "first")
    rank = data.draw(st.integers(0, run.division.processes - 1), "rank")

    assert run.parts(last, rank=rank, first=first) == run.parts(last, rank=rank)[first * run.division.accumulate :]


@settings(deadline=None, max_examples=50)
@given(runs(), st.integers(0, 3 * WINDOW), st.integers(0, 3 * WINDOW))
def test_a_longer_run_begins_as_a_shorter_one(run: Run, shorter: int, more: int) -> None:
    begun = run.parts(shorter)

    assert run.parts(shorter + more)[: len(begun)] == begun


@settings(deadline=None, max_examples=50)
@given(runs(), st.integers(0, 40), st.integers(0, 40))
def test_the_length_is_that_of_what_comes(run: Run, first: int, more: int) -> None:
    sampler = run.sampler(first + more, first=first)

    parts = list(sampler)

    assert len(sampler) == len(parts) == more * run.division.accumulate
    assert {len(part) for part in parts} <= {run.division.part}


@settings(deadline=None, max_examples=50)
@given(runs(grouped=True), st.integers(1, 3))
def test_grouping_leaves_at_most_one_mixed_part_a_window(run: Run, windows: int) -> None:
    assert run.tall is not None
    tall = run.tall
    for window in range(windows):
        first, last = window * run.window, (window + 1) * run.window
        parts = [part for rank in range(run.division.processes) for part in run.parts(last, rank=rank, first=first)]
        mixed = [part for part in parts if len({bool(tall[key.image]) for key in part}) > 1]
        assert len(mixed) <= 1


def test_ungrouped_most_parts_of_such_data_would_be_mixed() -> None:
    tall = np.arange(400) % 2 == 0
    run = Run(400, Division(4), 0, None)

    mixed = [part for part in run.parts(WINDOW) if len({bool(tall[key.image]) for key in part}) > 1]

    assert len(mixed) > WINDOW / 2  # a part of 4 is mixed with a chance of 1 - 2 / 2**4 = 0.875


def test_grouped_wide_and_tall_take_turns_at_random() -> None:
    tall = np.arange(400) % 2 == 0
    run = Run(400, Division(4), 0, tall)

    kinds = [bool(tall[part[0].image]) for part in run.parts(25 * WINDOW)]

    windows = [tuple(kinds[at : at + WINDOW]) for at in range(0, len(kinds), WINDOW)]
    assert len(set(windows)) == 25  # of C(16, 8) = 12,870 orders
    assert sum(kinds[::WINDOW]) in range(5, 21)  # tall ones begin about half of the 25 windows


def test_images_keep_the_order_in_which_they_were_shuffled_within_their_kind() -> None:
    tall = np.arange(64) % 3 == 0
    run = Run(64, Division(4), 7, tall)
    place = {image: at for at, image in enumerate(shuffled(64, 7, 0).tolist())}

    for part in run.parts(WINDOW):
        for kind in (False, True):
            places = [place[key.image] for key in part if tall[key.image] == kind]
            assert places == sorted(places)


@pytest.mark.parametrize("grouped", [False, True])
def test_another_seed_is_another_order_and_the_same_seed_the_same(grouped: bool) -> None:
    tall = np.arange(40) % 2 == 0 if grouped else None
    orders = [str(Run(40, Division(2), seed, tall).parts(20)) for seed in (0, 1, 2, 0)]

    assert len(set(orders[:3])) == 3
    assert orders[3] == orders[0]


def test_every_epoch_has_its_own_order() -> None:
    assert len({tuple(shuffled(30, 0, epoch).tolist()) for epoch in range(20)}) == 20


def test_no_two_purposes_places_or_seeds_share_random_numbers() -> None:
    drawn = {
        generator(seed, purpose, *place).bytes(16)
        for seed in (0, 1)
        for purpose in ("shuffle", "group", "augment", "step")
        for place in ((1,), (1, 2), (2, 1))
    }

    assert len(drawn) == 2 * 4 * 3
    assert generator(3, "augment", 1, 2).bytes(16) == generator(3, "augment", 1, 2).bytes(16)


@pytest.mark.parametrize(
    ("batch", "processes", "accumulate", "part"), [(16, 1, 1, 16), (16, 4, 2, 2), (6, 3, 2, 1), (6, 1, 3, 2)]
)
def test_a_batch_that_can_be_divided(batch: int, processes: int, accumulate: int, part: int) -> None:
    division = Division(batch, processes, accumulate)

    assert division.problem() is None
    assert division.part == part


@pytest.mark.parametrize(
    ("batch", "processes", "accumulate"),
    [
        (16, 3, 1),  # not a multiple
        (4, 8, 1),  # less than an image each
        (4, 2, 4),
        (0, 1, 1),  # 0 is a multiple of everything
    ],
)
def test_a_batch_that_cannot_be_divided_is_refused_with_the_numbers(
    batch: int, processes: int, accumulate: int
) -> None:
    assert Division(batch, processes, accumulate).problem() == (
        f"SOLVER.IMS_PER_BATCH: expected a multiple of {processes} processes x SOLVER.ACCUMULATE {accumulate} = "
        f"{processes * accumulate}, found {batch}"
    )


@pytest.mark.parametrize(
    ("images", "batch", "window"),
    # No more than the paper's 16 iterations, no more than an epoch, and no less than one iteration.
    [(64_914, 16, WINDOW), (33, 2, WINDOW), (31, 2, 15), (8, 3, 2), (2, 4, 1)],
)
def test_a_window_is_no_longer_than_an_epoch(images: int, batch: int, window: int) -> None:
    assert window_of(images, batch) == window
