"""Who finds what, against cases that are counted by hand."""

from __future__ import annotations

import numpy as np

from ensemble.report.agreement import agreement, by_how_many

# Four objects: the first model finds two of them, the second three.
FIRST, SECOND = np.array([True, True, False, False]), np.array([True, False, True, True])


def test_what_one_finds_and_the_other_misses() -> None:
    shares = agreement([FIRST, SECOND])
    assert shares.found.tolist() == [2 / 4, 3 / 4]
    # The second object; the last two.
    assert shares.alone.tolist() == [[0, 1 / 4], [2 / 4, 0]]


def test_by_how_many_models_objects_are_found() -> None:
    assert by_how_many([FIRST, SECOND]) == [0, 3 / 4, 1 / 4]
    assert by_how_many([FIRST]) == [2 / 4, 2 / 4]


def test_no_object_is_found_by_nobody() -> None:
    nothing = np.zeros(0, dtype=np.bool_)
    shares = agreement([nothing, nothing])
    assert (shares.found.tolist(), shares.alone.tolist()) == ([0, 0], [[0, 0], [0, 0]])
    assert by_how_many([nothing, nothing]) == [0, 0, 0]
