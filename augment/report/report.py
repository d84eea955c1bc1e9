"""Makes the report of a finished build from its files, and writes it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec
import yaml

from augment.operations.labels import DROP, IGNORE, KEEP, PASTED
from augment.report import statistics, words
from augment.report.chosen import choose_sources, facets_of, rarest_first
from augment.report.counted import Counted
from augment.report.finished import Finished, Manifest, read_finished
from augment.report.gallery import Gallery, grouped, make_gallery
from augment.report.objects import count_all
from datasets.cli import Progress
from datasets.outputs import file_to_write
from datasets.pages import charts, page
from datasets.pages.page import Number


class Written(NamedTuple):
    """What a report shows: sources and pictures of the gallery, and how many were left out as unreadable."""

    sources: int
    pictures: int
    unreadable: int


def write_report(folder: Path, output: Path, sources: int, seed: int, progress: Progress) -> Written:
    """Write the page of the build in `folder`, with `sources` sources in the gallery, which `seed` draws.

    Raises DataError where there is no finished build, or `output` is a file of it or cannot be written.
    """
    build = read_finished(folder)
    file_to_write(output, build.files)
    counted = Counted(build.images)
    located = count_all(build, counted, progress)
    facets = {
        key: facets_of(found, counted.categories_of[key]) for key, found in grouped(build.images.values()).items()
    }
    before = {item.id: item.before for item in build.manifest.counts.boxes_per_category}
    chosen = choose_sources(facets, rarest_first(before), sources, seed)
    gallery = make_gallery(build, chosen, located, progress)
    page.write(output, _rendered(build, counted, gallery), build.files)
    return Written(len(gallery.sources), gallery.pictures, gallery.unreadable.count)


def _rendered(build: Finished, counted: Counted, gallery: Gallery) -> str:
    manifest = build.manifest
    cases = counted.cases()
    boxes = statistics.boxes_charts(manifest)
    return page.render(
        Path(__file__).parent,
        "report.html",
        manifest=manifest,
        title=words.title(manifest),
        headline=words.headline(manifest),
        lost=words.lost(manifest),
        rule=words.crop_rule(manifest.recipe.labels),
        notes=words.notes(manifest),
        numbers=_numbers(manifest),
        operations=statistics.operations_table(manifest),
        boxes=boxes,
        are_narrow=len(boxes[0].rows) > charts.MANY,
        absent=statistics.absent(manifest),
        cases=statistics.cases_charts(manifest, cases) if manifest.has_originals else [],
        disagreements=statistics.disagreements(manifest, cases),
        sizes=statistics.sizes_charts(counted.before, counted.after),
        gallery=gallery,
        repairs=[[kind, f"{item.count:,}"] for kind, item in manifest.repairs.items()],
        recipe=yaml.safe_dump(msgspec.to_builtins(manifest.recipe), sort_keys=False, allow_unicode=True),
    )


def _numbers(manifest: Manifest) -> list[Number]:
    before, after = words.boxes_of(manifest)
    changes = [
        Number(f"{manifest.sources:,} \N{RIGHTWARDS ARROW} {manifest.counts.images:,}", "images"),
        Number(f"{before:,} \N{RIGHTWARDS ARROW} {after:,}", "boxes to learn from"),
    ]
    totals = {case: words.total(manifest, case) for case in (KEEP, PASTED, IGNORE, DROP)}
    return changes + [Number(f"{count:,}", case) for case, count in totals.items() if count or case != PASTED]
