"""The whole page, from the command line and in a browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from datasets import provenance
from datasets.digests import sha256_file
from datasets.provenance import Provenance
from datasets.results import write
from datasets.sources import Input
from tests.browser import check_page, chromium
from tests.command_line import Ended, in_shell
from tests.train.page.made_run import DETECTIONS, HOSTILE, keep, results, write_data, write_run
from train.__main__ import main


def report(*arguments: object) -> Ended:
    return in_shell(main, "python -m train", "report", *arguments)


@pytest.fixture
def data(tmp_path: Path) -> Input:
    return write_data(tmp_path / "data")


@pytest.fixture
def run(tmp_path: Path, data: Input) -> Path:
    folder = write_run(tmp_path / "cells", (10, 20, 15, 16, 17, 16))
    keep(folder, data, results(DETECTIONS))
    return folder


def test_a_run_has_all_that_its_page_needs(run: Path) -> None:
    code, out, err = report(run)
    assert (code, out, err) == (0, f"{run / 'report.html'}: the page of {run}, for a browser\n", "")
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "<h1>Training of cells</h1>" in text
    for id_ in ("curves", "categories", "errors", "worst", "labels", "configuration", "lineage"):
        assert f'<section id="{id_}">' in text
    assert "the detections of the validation after epoch 2, in the images of val.json: AP 8.4" in text
    assert "started from random weights, seed 0" in text


def test_names_from_datasets_stay_text(run: Path) -> None:
    report(run)
    text = (run / "report.html").read_text(encoding="utf-8")
    assert HOSTILE not in text
    assert "&lt;script&gt;alert(1)" in text
    assert text.count("<script>") == 1


def test_in_a_browser(run: Path, tmp_path: Path) -> None:
    report(run)
    with chromium(tmp_path / "profile") as browser:
        check_page(browser, run / "report.html")
        items = "[...document.querySelectorAll('[data-gallery=worst-images] > *')]"
        shown = f"{items}.filter((item) => item.offsetParent).length"
        assert browser.ask(shown) == 2
        form = browser.driver.find_element(By.CSS_SELECTOR, "[data-filters=worst-images]")
        form.find_element(By.CSS_SELECTOR, "option[value=Loc]").click()
        assert browser.ask(shown) == 1
        # From "badly placed" back to "all", and on to "wrong category".
        kind = form.find_element(By.CSS_SELECTOR, "select")
        kind.send_keys(Keys.HOME)
        assert browser.ask(shown) == 2
        kind.send_keys(Keys.ARROW_DOWN)
        assert browser.ask(shown) == 1
        assert browser.ask("document.querySelector('[data-filters=worst-images] output').textContent") == "1 of 2 shown"


def test_runs_are_compared(run: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", (30, 40))
    code, out, _ = report(run, other, "--output", tmp_path / "both.html")
    assert (code, out) == (0, f"{tmp_path / 'both.html'}: the page of {run}, {other}, for a browser\n")
    text = (tmp_path / "both.html").read_text(encoding="utf-8")
    assert "Training of cells, other" in text
    assert "40.0 (39.0 to 41.0)" in text


def test_runs_on_the_same_images_are_compared_by_a_bootstrap(run: Path, tmp_path: Path, data: Input) -> None:
    better = write_run(tmp_path / "better", (30, 40))
    # What the first one finds, and the object of the other image.
    keep(better, data, results([*DETECTIONS, (8, 1, 0.95, (20, 20, 30, 30))]))
    elsewhere = write_run(tmp_path / "elsewhere", (30, 40))
    keep(elsewhere, write_data(tmp_path / "other"), results(DETECTIONS))
    (tmp_path / "other" / "val.json").write_text("[]")
    report(run, better, elsewhere)
    text = (run / "report.html").read_text(encoding="utf-8")
    rows = re.findall(r'<th scope="row">(\w+)</th><td>tiny</td>(.*)</tr>', text)
    cells = {name: re.findall(r">([^<]*)</td>", row) for name, row in rows}
    # The AP of category 1: 1/2 at 34 of 101 recalls before; now its detections are right, wrong, right.
    gained = 100 * ((34 * 1 + 33 * 2 / 3) - 34 / 2) / 101 / 2
    assert [cells[name][2].partition(" ")[0] for name in ("cells", "better", "elsewhere")] == [
        "",
        f"+{gained:.1f}",
        "-",
    ]


def test_images_that_were_trained_on_are_said_to_be(tmp_path: Path, data: Input) -> None:
    run = write_run(tmp_path / "cells")
    named = ("--results", tmp_path / "found.json", "--annotations", data.annotations)
    write(tmp_path / "found.json", results(DETECTIONS))
    report(run, *named)
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "Whether these images were trained on is not known (no found.provenance.json)." in text
    about = Provenance(
        results_sha256=sha256_file(tmp_path / "found.json"), models=(), images=2, seen_in_training=(8,), complete=True
    )
    provenance.write(tmp_path / "found.json", about)
    report(run, *named)
    assert "1 of the validation images were trained on" in (run / "report.html").read_text(encoding="utf-8")


def test_a_run_without_detections_has_curves_and_says_how_to_get_the_rest(tmp_path: Path) -> None:
    run = write_run(tmp_path / "cells")
    code, out, _ = report(run)
    assert code == 0
    assert out.splitlines()[1].startswith(f"curves only: {run} has no val_results.json")
    text = (run / "report.html").read_text(encoding="utf-8")
    assert '<section id="curves">' in text
    assert '<section id="categories">' not in text
    assert f"python -m train report {run} --results PREDICTED.json --annotations VAL.json --images VAL" in text


def test_a_run_without_a_line_of_metrics(tmp_path: Path) -> None:
    run = write_run(tmp_path / "cells")
    (run / "metrics.json").write_text("")
    assert report(run).code == 0
    assert "0 iterations, 0 epochs" in (run / "report.html").read_text(encoding="utf-8")


def test_data_that_are_gone_leave_the_curves(run: Path, data: Input) -> None:
    data.annotations.unlink()
    code, out, _ = report(run)
    assert code == 0
    assert "curves only:" in out
    assert "val.json: expected the annotation file that" in (run / "report.html").read_text(encoding="utf-8")


def test_images_that_are_gone_are_said_to_be(run: Path, data: Input) -> None:
    (data.images / "one.png").unlink()
    assert report(run).code == 0
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "<strong>1 of them cannot be shown</strong>" in text
    assert "No picture: expected an image file, found none" in text


def test_predictions_of_another_time(tmp_path: Path, data: Input) -> None:
    run = write_run(tmp_path / "cells")
    write(tmp_path / "found.json", results(DETECTIONS))
    named = ("--results", tmp_path / "found.json", "--annotations", data.annotations, "--images", data.images)
    assert report(run, *named).code == 0
    text = (run / "report.html").read_text(encoding="utf-8")
    assert "the detections of found.json in the images of val.json" in text
    assert "--train-annotations names their file" in text
    assert report(run, *named, "--train-annotations", data.annotations).code == 0
    assert "boxes in training" in (run / "report.html").read_text(encoding="utf-8")


def test_the_same_files_give_the_same_page(run: Path) -> None:
    report(run)
    before = (run / "report.html").read_bytes()
    report(run)
    assert (run / "report.html").read_bytes() == before


@pytest.mark.parametrize("option", ["--results", "--images"])
def test_what_is_of_other_images_needs_their_annotations(run: Path, option: str) -> None:
    code, _, err = report(run, option, run)
    assert code == 2
    assert "--results and --images go with --annotations" in err


def test_bad_input_is_one_error_and_no_page(run: Path, tmp_path: Path, data: Input) -> None:
    code, out, err = report(run, "--results", tmp_path / "none.json", "--annotations", data.annotations)
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert "none.json" in err
    assert not (run / "report.html").exists()
    code, _, err = report(run, "--output", run / "metrics.json")
    assert code == 1
    assert "would replace an input" in err


def test_images_without_any_object(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    text = data.annotations.read_text()
    data.annotations.write_text(
        text[: text.index('"annotations": [')] + '"annotations": [], ' + text[text.index('"categories"') :]
    )
    run = write_run(tmp_path / "cells")
    keep(run, data, results(DETECTIONS))
    assert report(run).code == 0
    run = write_run(tmp_path / "quiet")
    keep(run, data, results([]))
    assert report(run).code == 0
    assert "No image has a mistake." in (run / "report.html").read_text(encoding="utf-8")
