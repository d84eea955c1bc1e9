"""The report of a build: what it says, what it leaves out and why, and how it behaves in a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from augment.__main__ import main
from augment.operations.parameters import Pixel, RandomCrop, Recipe
from augment.report import gallery
from augment.verify.dataset import Verified
from datasets.sources import Input
from tests.browser import Browser, check_page, chromium
from tests.command_line import Cli, in_shell
from tests.protocols import Draw, Edit, Make

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def cli() -> Cli:
    """cli(...): what a shell would see of `python -m augment report ...`."""
    return partial(in_shell, main, "python -m augment", "report")


def page_of(cli: Cli, folder: Path, *options: object) -> str:
    code, _, err = cli(folder, *options)
    assert (code, err) == (0, "")
    return (folder / "report.html").read_text(encoding="utf-8")


def text_of(page: str) -> str:
    """What a page says, without elements and in one line."""
    return " ".join(re.sub(r"<(style|script|svg).*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL).split())


def pictures_in(page: str) -> int:
    return page.count('<image width="')


def test_a_report_lies_in_the_build_which_stays_good(
    cli: Cli, copied: Callable[[str], Path], check: Callable[[Path], Verified]
) -> None:
    folder = copied("expanded")
    code, out, err = cli(folder)
    assert (code, err) == (0, "")
    # 8 sources, each with 6 images.
    assert out == f"{folder / 'report.html'}: 48 pictures of 8 source images; open it in a browser\n"
    assert check(folder).labels_verified
    first = (folder / "report.html").read_bytes()
    cli(folder)
    assert (folder / "report.html").read_bytes() == first


def test_it_says_what_was_done(cli: Cli, copied: Callable[[str], Path]) -> None:
    folder = copied("expanded")
    counts = json.loads((folder / "manifest.json").read_bytes())["counts"]
    after = sum(item["after"] for item in counts["boxes_per_category"])
    text = text_of(page_of(cli, folder))
    assert "The recipe expanded, with seed 0, made 48 images of 8 source images" in text
    # Of tests/conftest.py: 2 + 2 + 2 + 1 + 1 + 0 + 1 + 18.
    assert f"These have 27 boxes to learn from; the 48 have {after}, {after / 27:.1f} times as many." in text
    assert "at least 50 % of it is left and its box covers more than 1 % of the new image" in text
    total = [sum(item[case] for item in counts["operations"].values()) for case in ("kept", "ignored", "dropped")]
    assert " ".join(["total 48", *map(str, total)]) in text
    assert "EXIF orientation that the annotations do not follow, taken out of the copy 1" in text
    assert "Without a box, before and after: dog." in text
    assert "fraction: - 0.8 - 0.99" in text


def test_it_goes_where_output_says_and_never_over_the_build(
    cli: Cli, built: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = built("beyond")
    code, out, _ = cli(folder, "--output", tmp_path / "page.html", "--sources", "2")
    assert (code, out.startswith(f"{tmp_path / 'page.html'}: ")) == (0, True)
    assert not (folder / "report.html").exists()
    image = min((folder / "images").iterdir())
    for name in ("manifest.json", f"images/{image.name}", "annotations/instances.json"):
        code, _, err = cli(folder, "--output", folder / name)
        assert code == 1
        assert err.startswith(f"error: {folder / name}: would replace")


def test_sources_and_seed_choose_the_pictures(cli: Cli, copied: Callable[[str], Path]) -> None:
    folder = copied("expanded")
    assert pictures_in(page_of(cli, folder, "--sources", "2")) == 2 * 6
    none = page_of(cli, folder, "--sources", "0")
    assert (pictures_in(none), "0 of 8 source images" in none) == (0, True)
    # The last heading is that of the input.
    drawn = {
        tuple(re.findall("<h3>(.*?)</h3>", page_of(cli, folder, "--sources", "4", "--seed", seed))) for seed in "0123"
    }
    assert len(drawn) > 1
    assert {len(names) for names in drawn} == {4 + 1}


def test_pictures_that_cannot_be_read_are_left_out_and_named(cli: Cli, copied: Callable[[str], Path]) -> None:
    folder = copied("expanded")
    first, second, third = sorted((folder / "images").iterdir())[:3]
    first.unlink()
    second.write_bytes(b"no picture")
    third.write_bytes(third.read_bytes()[:-200])
    code, out, err = cli(folder)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert (code, pictures_in(page)) == (0, 45)
    assert out.endswith("45 pictures of 8 source images; open it in a browser\n")
    assert err == "warning: 3 pictures are left out, since their files cannot be read\n"
    assert f"<li>images/{first.name}: expected an image file, found none</li>" in page
    assert f"<li>images/{second.name}: expected a JPEG or PNG file, found " in page
    assert f"<li>images/{third.name}: expected a whole JPEG file, found one that was cut short" in page


def test_a_name_that_leaves_the_folder_is_not_opened(cli: Cli, copied: Callable[[str], Path], edit: Edit) -> None:
    folder = copied("expanded")
    (folder.parent / "secret.jpg").write_bytes(next((folder / "images").iterdir()).read_bytes())

    def escape(document: Any) -> None:
        document["images"][0]["file_name"] = "../../secret.jpg"

    edit(folder, escape)
    assert cli(folder).code == 0
    assert "images/../../secret.jpg: climbs out of the image folder" in (folder / "report.html").read_text()


def test_a_page_has_room_for_so_many_sources(
    cli: Cli, copied: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery, "MOST_TEXT", 60_000)
    page = page_of(cli, copied("expanded"))
    assert 0 < pictures_in(page) < 48
    assert "8 were asked for; more would make this page too large to open quickly." in page


def test_without_originals_it_says_what_is_not_known(cli: Cli, drawn: Input, make: Make, tmp_path: Path) -> None:
    make(drawn, tmp_path / "out", Recipe(name="bare", operations=(Pixel(), RandomCrop(fraction=(0.3, 0.5)))))
    page = page_of(cli, tmp_path / "out")
    assert "The recipe keeps no originals." in page
    assert 'id="cases"' not in page
    assert pictures_in(page) == 8 * 2


def test_operations_that_made_nothing_are_told(cli: Cli, draw: Draw, make: Make, tmp_path: Path) -> None:
    make(draw(tmp_path / "data", only=(7, 12), masks=False), tmp_path / "out", "scarce")
    text = text_of(page_of(cli, tmp_path / "out"))
    assert "Warning: the recipe scarce makes 0 of 4 images by paste: the others found no object" in text


def test_images_without_an_object_are_shown_too(cli: Cli, copied: Callable[[str], Path]) -> None:
    text = text_of(page_of(cli, copied("expanded")))
    # One of the eight sources.
    assert text.count("no object") == 6


def test_inputs_are_told_apart(cli: Cli, draw: Draw, make: Make, tmp_path: Path) -> None:
    make([draw(tmp_path / "a", only=(7, 31)), draw(tmp_path / "b", only=(7, 12))], tmp_path / "out", "scarce")
    text = text_of(page_of(cli, tmp_path / "out"))
    assert "of input 2" in text
    assert text.count("2 images.") == 2


def changed(document: Any, section: str, key: str, value: Any) -> None:
    document[section][-1][key] = value


@pytest.mark.parametrize(
    ("section", "key", "value", "expected"),
    [
        ("images", "operation", "melt", "$.images[47].operation: expected one of original, "),
        ("images", "source_id", None, "$.images[47].source_id: expected the id of a source image, found none"),
        (
            "images",
            "turn",
            {"mirrored": False, "degrees": 45},
            "$.images[47].turn.degrees: expected one of 0, 90, 180, 270, found 45",
        ),
        ("annotations", "bbox", [0, 0, 1e300, 1e300], ".bbox: expected a box within its image of "),
        ("images", "width", 0, "$.images[47].width, height: expected at least 1 px, found 0 x "),
        (
            "annotations",
            "category_id",
            77,
            "expected the ids of an image and a category, found image 48 and category 77",
        ),
        ("annotations", "bbox", "none", ".bbox: Expected `array`, got `str`, found "),
        ("annotations", "segmentation", [[1, 2, "x"]], ".segmentation[0][2]: Expected `float`, got `str`"),
    ],
)
def test_records_that_no_build_has_are_named(
    cli: Cli, copied: Callable[[str], Path], edit: Edit, section: str, key: str, value: Any, expected: str
) -> None:
    folder = copied("expanded")
    edit(folder, lambda document: changed(document, section, key, value))
    code, out, err = cli(folder)
    assert (code, out) == (1, "")
    assert f"{folder / 'annotations' / 'instances.json'}: 1 record(s) that no build has" in err
    assert expected in err
    assert f"`python -m augment verify {folder}` finds everything" in err
    assert not (folder / "report.html").exists()


def test_a_folder_that_is_no_build_is_named(
    cli: Cli, copied: Callable[[str], Path], edit: Edit, tmp_path: Path
) -> None:
    code, _, err = cli(tmp_path / "none")
    assert (code, err.startswith(f"error: {tmp_path / 'none' / 'manifest.json'}: expected the manifest")) == (1, True)
    folder = copied("expanded")
    edit(folder, lambda document: document.pop("counts"), "manifest.json")
    code, _, err = cli(folder)
    assert (code, "expected the manifest of a build: Object missing required field `counts`" in err) == (1, True)


def test_annotations_that_the_manifest_does_not_count_are_told(
    cli: Cli, copied: Callable[[str], Path], edit: Edit
) -> None:
    folder = copied("expanded")
    edit(folder, lambda document: document["annotations"].pop())
    assert "Warning: the annotations are not those that the manifest counts" in page_of(cli, folder)


def hostile(draw: Draw, make: Make, folder: Path) -> Path:
    """A build of a dataset whose categories and files are named to break a page."""
    source = draw(folder / "data", only=(7, 12, 20))
    document = json.loads(source.annotations.read_bytes())
    document["categories"][0]["name"] = HOSTILE
    for image in document["images"]:
        name = f"{HOSTILE.replace('/', '')}{image['file_name']}"
        (source.images / image["file_name"]).rename(source.images / name)
        image["file_name"] = name
    source.annotations.write_text(json.dumps(document), encoding="utf-8")
    make(source, folder / "out", "everything")
    return folder / "out"


def test_in_a_browser(cli: Cli, draw: Draw, make: Make, tmp_path: Path) -> None:
    folder = hostile(draw, make, tmp_path)
    page = page_of(cli, folder)
    # The page's own.
    assert page.count("<script>") == 1
    with chromium(tmp_path / "profile") as browser:
        check_page(browser, folder / "report.html")
        every = shown(browser)
        assert every == pictures_in(page)
        choose(browser, "operation", "center_crop")
        # Two of each of the three sources.
        assert (shown(browser), browser.ask("document.querySelector('output').textContent")) == (
            6,
            f"6 of {every} shown",
        )
        # A car is in two of them; of the third no heading stays either.
        choose(browser, "category", "3")
        groups = "[...document.querySelectorAll('.group')].filter((item) => item.offsetParent).length"
        assert (shown(browser), browser.ask(groups)) == (4, 2)
        select = browser.driver.find_element(By.CSS_SELECTOR, "select[data-key=operation]")
        select.send_keys(Keys.HOME)
        select.send_keys(Keys.ARROW_DOWN)
        assert browser.ask("document.querySelector('select').value") == "original"
        assert shown(browser) == 2


def shown(browser: Browser) -> int:
    return int(
        browser.ask("[...document.querySelectorAll('[data-gallery] > *')].filter((item) => item.offsetParent).length")
    )


def choose(browser: Browser, key: str, value: str) -> None:
    browser.driver.find_element(By.CSS_SELECTOR, f"select[data-key={key}] option[value='{value}']").click()
