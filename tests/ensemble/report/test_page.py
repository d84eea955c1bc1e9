"""The page in a browser, and what stands in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from ensemble.report import page
from tests.browser import check_page, chromium
from tests.ensemble.files import SIZES, annotated, write
from tests.ensemble.report.files import HOSTILE, folder, named, report


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """The page of two models, with a submission."""
    write(folder(tmp_path) / "test.json", named(annotated()))
    images = tmp_path / "images"
    test = [
        "--submission",
        tmp_path / "b_val.json",
        "--test-annotations",
        tmp_path / "test.json",
        "--test-images",
        images,
    ]
    assert report(tmp_path, "--images", images, *test).code == 0
    return tmp_path / "page.html"


def test_in_a_browser(made: Path) -> None:
    with chromium(made.parent / "profile") as browser:
        check_page(browser, made)
        shown = (
            "[...document.querySelectorAll('[data-gallery=changes] > *')].filter((item) => item.offsetParent).length"
        )
        every = browser.ask(shown)
        helped = browser.ask("document.querySelectorAll('[data-effect=helped]').length")
        hurt = every - helped
        assert helped
        assert hurt
        browser.driver.find_element(By.CSS_SELECTOR, "option[value=helped]").click()
        assert browser.ask(shown) == helped
        browser.driver.find_element(By.CSS_SELECTOR, "select[data-key=effect]").send_keys(Keys.ARROW_DOWN)
        assert browser.ask(shown) == hurt
        # The name of a category is text.
        texts = browser.ask("[...document.querySelectorAll('option')].map((item) => item.textContent)")
        assert HOSTILE in texts


def test_names_stay_text(made: Path) -> None:
    text = made.read_text(encoding="utf-8")
    assert text.count("<script>") == 1
    # In the table, two filters, the legend and the tooltips.
    assert text.count("&lt;script&gt;alert(1)") > 5


def test_all_steps_and_sections(made: Path) -> None:
    text = made.read_text(encoding="utf-8")
    rows = re.findall(r'<tr><th scope="row">([^<]*)</th>', text)
    assert [row for row in rows if row.startswith(("a", "b"))][:4] == [
        "a",
        "a, suppressed",
        "b",
        "b, suppressed",
    ]
    assert re.findall(r'<section id="(\w+)">', text) == [
        "steps",
        "agreement",
        "curves",
        "categories",
        "changes",
        "submission",
        "made",
    ]
    assert f"{len(SIZES)} of its {len(SIZES)} images" in text
    assert "Its file is not shown" not in text


def test_only_some_pictures_of_a_large_submission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "SUBMITTED", 2)
    val = folder(tmp_path) / "val.json"
    test = ["--submission", tmp_path / "b_val.json", "--test-annotations", val, "--test-images", tmp_path / "images"]
    assert report(tmp_path, *test).code == 0
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "2 of its 5 images" in text
    # Val's own folder was not named.
    assert "the folder of the images was not named" in text


def test_a_picture_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    for id_ in SIZES:
        (folder(tmp_path) if id_ == 7 else tmp_path).joinpath("images", f"{id_}.jpg").write_bytes(b"no picture")
    assert report(tmp_path, "--images", tmp_path / "images").code == 0
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Its file is not shown: expected a JPEG or PNG file" in text
    assert "data:image/jpeg" not in text


def test_one_model_alone(tmp_path: Path) -> None:
    folder(tmp_path)
    ended = report(tmp_path, names=("a_val",))
    assert ended.code == 0
    assert "Nothing is fused: a is the only model with a weight." in ended.out
    assert "Nothing is fused" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_model_that_found_nothing(tmp_path: Path) -> None:
    write(folder(tmp_path) / "a_val.json", [])
    assert report(tmp_path, "--images", tmp_path / "images").code == 0
    write(tmp_path / "b_val.json", [])
    assert report(tmp_path, "--images", tmp_path / "images", names=("b_val",)).code == 0


def test_images_trained_on_are_told_at_the_head(tmp_path: Path) -> None:
    folder(tmp_path)
    assert report(tmp_path, "--trained-on", tmp_path / "val.json").code == 0
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Some of these images were trained on" in text
    assert "fusion: seen in training" in text
