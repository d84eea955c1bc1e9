"""The search: what it tries, in which order, and that its best is what the pipeline then measures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import pytest

from datasets.errors import DataError
from ensemble import pipeline, recipe, tune
from ensemble.pipeline import Images
from ensemble.recipe import FuseSoftNms, Nms, Recipe, SoftNms, Wbf
from ensemble.tune import Trial, Tuned
from tests.ensemble.files import annotated, predicted, unannotated, write

NAMES = ["../a.json", "b.json"]
PAPER = Recipe()
# No point of the search: another method, a value between two of the lists, a weight above theirs.
ELSEWHERE = [
    Recipe(suppress=Nms(iou_threshold=0.6), fuse=FuseSoftNms()),
    Recipe(suppress=SoftNms(sigma=0.45), fuse=Wbf(iou_threshold=0.62), detections_per_image=10),
    Recipe(suppress=SoftNms(kind="linear")),
    Recipe(models=(recipe.Model(results="x.json", weight=2), recipe.Model(results="y.json", weight=3))),
]


class Search(Protocol):
    """search(seed=1): the search with that changed."""

    def __call__(self, **changed: Any) -> Tuned: ...


@pytest.fixture
def val(tmp_path: Path) -> Images:
    return pipeline.read_images(write(tmp_path / "val.json", annotated()))


@pytest.fixture
def models(val: Images, tmp_path: Path) -> list[pipeline.Model]:
    """A model, and one that sees less well."""
    contents = [predicted(1), predicted(2, noise=6)]
    paths = [write(tmp_path / f"{at}.json", content) for at, content in enumerate(contents)]
    return pipeline.read_models(paths, val)


@pytest.fixture
def search(val: Images, models: list[pipeline.Model]) -> Search:
    """search(seed=1): the search with that changed."""

    def search(**changed: Any) -> Tuned:
        asked: dict[str, Any] = {"names": NAMES, "trials": 12, "seed": 0, "start": PAPER} | changed
        return tune.tune(models, val, **asked)

    return search


Tried = list[tuple[Recipe, list[float]]]


def watched(monkeypatch: pytest.MonkeyPatch, measure: Callable[[Recipe], float] | None = None) -> Tried:
    """The recipes that will be measured, in their order; by `measure` instead of on data."""
    tried: Tried = []
    real = tune._Search.ap_of

    def ap_of(self: Any, chosen: Recipe, weights: list[float]) -> float:
        tried.append((chosen, weights))
        return real(self, chosen, weights) if measure is None else measure(chosen)

    monkeypatch.setattr(tune._Search, "ap_of", ap_of)
    return tried


def ap_of(chosen: Recipe, models: list[pipeline.Model], val: Images) -> float:
    """That of what would be submitted."""
    found = pipeline.run(models, val, chosen).steps[-1].ap
    assert found is not None
    return found


def test_the_same_seed_finds_the_same_and_another_tries_others(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = watched(monkeypatch)

    first, second, other = search(seed=3), search(seed=3), search(seed=4)

    assert first == second
    assert tried[:12] == tried[12:24] != tried[24:]
    assert other.trials == 12


@pytest.mark.parametrize("start", [PAPER, *ELSEWHERE])
@pytest.mark.parametrize("trials", [1, 2, 25])
def test_the_best_is_no_worse_than_the_start_and_is_what_the_pipeline_measures(
    trials: int, start: Recipe, search: Search, models: list[pipeline.Model], val: Images
) -> None:
    found = search(start=start, trials=trials)

    assert found.ap == ap_of(found.recipe, models, val) >= ap_of(start, models, val)
    assert found.recipe.detections_per_image == start.detections_per_image
    assert [model.results for model in found.recipe.models] == NAMES


@pytest.mark.parametrize("workers", [2, 3])
def test_several_processes_find_what_one_finds(workers: int, search: Search) -> None:
    assert search(trials=30, workers=workers) == search(trials=30)
    assert search(trials=30, workers=workers, start=ELSEWHERE[0]) == search(trials=30, start=ELSEWHERE[0])


def test_more_trials_find_something_better(search: Search, models: list[pipeline.Model], val: Images) -> None:
    aps = [search(trials=trials).ap for trials in (1, 25, 100)]

    assert ap_of(PAPER, models, val) == aps[0] < aps[1] <= aps[2]


def test_a_single_trial_is_the_start_with_the_names_asked_for(search: Search) -> None:
    for start, weights in [(PAPER, (1, 1)), (ELSEWHERE[3], (2, 3))]:
        entries = [recipe.Model(results=name, weight=weight) for name, weight in zip(NAMES, weights, strict=True)]

        # Its own names would be looked for beside the recipe that is written.
        found = search(start=start, trials=1)

        assert found.recipe == msgspec.structs.replace(start, models=tuple(entries))
        assert found.trials == 1


@pytest.mark.parametrize("start", [PAPER, ELSEWHERE[0]])
def test_as_many_recipes_are_tried_as_asked_for_and_none_twice(
    start: Recipe, search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = watched(monkeypatch)

    found = search(start=start, trials=40)

    assert found.trials == len(tried) == 40
    assert tried[0] == (start, [1, 1])
    # The start has no names yet.
    named = {(chosen.suppress, chosen.fuse, *weights) for chosen, weights in tried}
    assert len(named) == 40


def test_every_recipe_tried_is_one_that_can_be_written(
    search: Search, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tried = watched(monkeypatch)
    search(trials=40)

    for chosen, weights in tried[1:]:
        assert recipe.load(write(tmp_path / "mine.yaml", recipe.dump(chosen))) == chosen
        assert [model.results for model in chosen.models] == NAMES
        assert chosen.weights(2) == weights


def distance(a: Trial, b: Trial) -> int:
    """How many places are between two points of the search, over all values."""
    flat_a, flat_b = ([*trial[:-1], *trial.weights] for trial in (a, b))
    return sum(abs(one - other) for one, other in zip(flat_a, flat_b, strict=True))


def points(tried: Tried) -> list[Trial]:
    found = [tune._point(chosen, weights) for chosen, weights in tried]
    assert None not in found
    return [trial for trial in found if trial is not None]


def test_after_half_of_the_trials_come_steps_from_the_start_where_nothing_is_better(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = watched(monkeypatch, measure=lambda chosen: float(not chosen.models))

    assert search(trials=20).ap == 1

    start, *others = points(tried)
    steps = [distance(start, trial) for trial in others]
    # 10 anywhere, 9 beside the start; it has 2 + 2 + 1 + 2 + 1 + 1 neighbours and one for each weight.
    assert steps[10:] == [1] * 9
    assert min(steps[:10]) > 1


def test_steps_go_on_from_what_was_better(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    # The better, the more the first model counts and the less the second.
    tried = watched(monkeypatch, measure=lambda chosen: weight(chosen, 0) - weight(chosen, 1))

    found = search(trials=300)

    assert found.recipe.weights(2) == [1, 0]
    found_points = points(tried)
    for at, trial in enumerate(found_points[151:], 151):
        measured = [weight(chosen, 0) - weight(chosen, 1) for chosen, _ in tried[:at]]
        assert distance(found_points[int(np.argmax(measured))], trial) == 1


def weight(chosen: Recipe, at: int) -> float:
    return chosen.weights(2)[at]


def test_a_start_outside_the_search_is_kept_and_steps_begin_at_the_best_trial(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = ELSEWHERE[0]
    tried = watched(monkeypatch, measure=lambda chosen: 1.0 if not chosen.models else weight(chosen, 0) / 2)

    found = search(start=start, trials=14, seed=2)

    assert (found.ap, found.recipe.suppress, found.recipe.fuse) == (1, start.suppress, start.fuse)
    # 7 anywhere, then 6 beside the first of them in which the first model counts most.
    trials = points(tried[1:])
    first_weights = [trial.weights[0] for trial in trials[:7]]
    at = first_weights.index(max(first_weights))
    assert at > 0
    assert [distance(trials[at], trial) for trial in trials[7:]] == [1] * 6


def test_the_search_ends_early_where_all_steps_are_tried(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = watched(monkeypatch, measure=lambda chosen: float(not chosen.models))

    found = search(trials=1000)

    assert found.trials == len(tried) < 1000
    neighbours = set(tune._neighbours(points(tried)[0], np.random.default_rng(0)))
    assert neighbours <= set(points(tried))


def test_of_equal_recipes_the_start_wins(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    watched(monkeypatch, measure=lambda _: 0.0)

    assert search(trials=30).recipe.fuse == PAPER.fuse
    assert search(trials=30).recipe.weights(2) == [1, 1]


def test_a_drawn_recipe_counts_one_model_at_least() -> None:
    rng = np.random.default_rng(0)
    drawn = [tune._draw(rng, 1) for _ in range(100)] + [tune._draw(rng, 3) for _ in range(300)]

    assert all(any(trial.weights) for trial in drawn)
    # Every place of every list comes up.
    for at, size in enumerate(tune.SIZES):
        assert {trial[at] for trial in drawn} == set(range(size))
    assert {place for trial in drawn for place in trial.weights} == set(range(len(tune.WEIGHTS)))


def test_neighbours_are_all_points_one_step_away() -> None:
    middle = Trial(1, 1, 0, 1, 1, 1, weights=(1, 0))

    found = tune._neighbours(middle, np.random.default_rng(0))

    assert {distance(middle, trial) for trial in found} == {1}
    # Two each way of five values, one of `class_agnostic`, two of the first weight less the one where none would count.
    assert len(found) == len(set(found)) == 5 * 2 + 1 + 1 + 1
    corner = Trial(*(size - 1 for size in tune.SIZES), weights=(4, 4))  # type: ignore[arg-type, misc]
    assert len(tune._neighbours(corner, np.random.default_rng(0))) == 6 + 2
    assert tune._neighbours(middle, np.random.default_rng(1)) != found


def test_the_paper_s_recipe_is_a_point_of_the_search() -> None:
    trial = tune._point(PAPER, [1.0, 0.5])

    assert trial is not None
    made = trial.recipe(NAMES, 100)
    assert (made.suppress, made.fuse, made.weights(2)) == (PAPER.suppress, PAPER.fuse, [1, 0.5])
    for start in ELSEWHERE[:3]:
        assert tune._point(start, [1.0, 1.0]) is None
    assert tune._point(PAPER, [1.0, 2.0]) is None


def test_progress_counts_up_to_the_trials_asked_for(search: Search) -> None:
    calls: list[tuple[str, int, int]] = []

    search(trials=15, progress=lambda *call: calls.append(call))

    assert {(what, of) for what, _, of in calls} == {("tuning", 15)}
    done = [at for _, at, _ in calls]
    assert done == sorted(done)
    assert set(done) == set(range(1, 16))
    calls.clear()
    search(trials=1, progress=lambda *call: calls.append(call))
    assert calls == [("tuning", 1, 1)]


def test_without_objects_there_is_nothing_to_measure_with(models: list[pipeline.Model], tmp_path: Path) -> None:
    bare = pipeline.read_images(write(tmp_path / "test.json", unannotated()))

    with pytest.raises(DataError) as caught:
        tune.tune(models, bare, names=NAMES, trials=5, seed=0, start=PAPER)

    assert str(caught.value) == f"{bare.path}: expected annotations to measure with, found none"


def test_a_start_of_another_number_of_models_is_refused(search: Search) -> None:
    entries = tuple(recipe.Model(results=f"{at}.json") for at in range(3))

    with pytest.raises(DataError, match=r"each of the recipe's 3 models \(0\.json, 1\.json, 2\.json\), found 2"):
        search(start=Recipe(models=entries))


def test_models_that_find_nothing_keep_the_start(val: Images, tmp_path: Path) -> None:
    empty = pipeline.read_models([write(tmp_path / f"{name}.json", []) for name in "ab"], val)

    found = tune.tune(empty, val, names=NAMES, trials=10, seed=0, start=PAPER)

    assert (found.ap, found.trials, found.recipe.fuse) == (0, 10, PAPER.fuse)
