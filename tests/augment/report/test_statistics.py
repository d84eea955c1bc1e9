"""Charts and tables of a build: the rarest category first, and with very many categories no longer than readable."""

from __future__ import annotations

from array import array
from collections import Counter

from augment.operations.parameters import Original, Recipe
from augment.report import statistics
from augment.report.counted import Sizes
from augment.report.finished import BuildCounts, CategoryCounts, InputFile, Manifest, OperationCounts


def manifest(categories: list[CategoryCounts], **operations: OperationCounts) -> Manifest:
    return Manifest(
        scarcedet="0",
        recipe=Recipe(name="mine", operations=(Original(),)),
        inputs=[InputFile(annotations="a.json", images=3)],
        versions={},
        counts=BuildCounts(images=9, operations=operations, boxes_per_category=categories),
    )


def categories(count: int) -> list[CategoryCounts]:
    """Category n has n boxes before, three times as many after; the commonest first."""
    return [CategoryCounts(id=n, name=f"category {n}", before=n, after=3 * n) for n in range(count, 0, -1)]


def test_boxes_begin_with_the_rarest() -> None:
    linear, logarithmic = statistics.boxes_charts(manifest(categories(3)))
    assert linear.rows == [[f"category {n}", str(n), str(3 * n), "3.0"] for n in (1, 2, 3)] == logarithmic.rows


def test_of_many_categories_there_is_a_chart_without_the_commonest() -> None:
    *_, rare = statistics.boxes_charts(manifest(categories(20)))
    assert [row[0] for row in rare.rows] == [f"category {n}" for n in range(1, 15)]
    assert len(statistics.boxes_charts(manifest(categories(12)))) == 2


def test_of_very_many_categories_the_first_are_drawn_and_all_listed() -> None:
    chart = statistics.boxes_charts(manifest(categories(200)))[0]
    assert chart.title == "Boxes per category: the first 150 of 200; the numbers are of all"
    assert len(chart.rows) == 200
    assert ">category 150<" in chart.svg
    assert ">category 151<" not in chart.svg


def test_categories_without_a_box_are_named_apart() -> None:
    known = manifest([*categories(1), CategoryCounts(id=7, name="dog", before=0, after=0)])
    assert statistics.absent(known) == ["dog"]
    assert [row[0] for row in statistics.boxes_charts(known)[0].rows] == ["category 1"]


def test_operations_have_their_cases_and_totals() -> None:
    known = manifest(
        [],
        original=OperationCounts(images=3, kept=10, ignored=0, dropped=0, crowd=0),
        random_crop=OperationCounts(images=6, kept=12, ignored=3, dropped=5, crowd=0),
    )
    table = statistics.operations_table(known)
    assert table.header == ["operation", "what it makes", "images", "kept", "ignored", "dropped"]
    assert [row[:1] + row[2:] for row in table.rows] == [
        ["original", "3", "10", "0", "0"],
        ["random crop", "6", "12", "3", "5"],
        ["total", "9", "22", "3", "5"],
    ]


def test_shares_leave_out_originals_and_cases_without_objects() -> None:
    known = manifest(
        categories(2),
        original=OperationCounts(images=3, kept=10, ignored=0, dropped=0, crowd=0),
        random_crop=OperationCounts(images=6, kept=12, ignored=0, dropped=5, crowd=0),
    )
    cases = Counter({("original", 1, "kept"): 10, ("random_crop", 1, "kept"): 12, ("random_crop", 2, "dropped"): 5})
    of_operation, of_category = statistics.cases_charts(known, cases)
    assert (of_operation.header, of_operation.rows) == (["", "kept", "dropped"], [["random crop", "12", "5"]])
    assert of_category.rows == [["category 1", "12", "0"], ["category 2", "0", "5"]]
    assert statistics.cases_charts(known, Counter()) == []


def test_sizes_are_of_boxes_with_an_area() -> None:
    before, after = (Sizes(array("d"), array("d")) for _ in range(2))
    for width, height in ((4, 9), (0, 5)):
        before.add(width, height)
    size, shape = statistics.sizes_charts(before, after)
    # The square root of 36, and 4 / 9.
    assert (size.rows[0], shape.rows[0]) == (
        ["before", "1", "6", "6", "6"],
        ["before", "1", "0.4444", "0.4444", "0.4444"],
    )
    assert [row[0] for row in statistics.sizes_charts(after, before)[0].rows] == ["after"]
