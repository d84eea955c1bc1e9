"""The gallery: chosen sources, each with its original and its variants, and the objects drawn over them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from augment.operations.parameters import Original
from augment.report import shapes, words
from augment.report.chosen import choose_variants
from augment.report.finished import Finished, Key, key_of
from augment.report.objects import Located, annotations_of
from augment.report.views import pictures_of
from datasets import build_layout, images
from datasets.cli import Progress
from datasets.errors import Problems
from datasets.pages.page import Choice
from datasets.pages.pictures import picture, thumbnail
from datasets.records import Annotation, Image

if TYPE_CHECKING:
    from markupsafe import Markup

# Of all pictures of a page with their shapes, in characters: no page is larger than 8 MB.
MOST_TEXT = 6_500_000


class Picture(NamedTuple):
    """A picture of the gallery with its caption; `shows` are the words of each filter."""

    svg: Markup
    done: str
    donors: str
    counts: str
    categories: str
    shows: dict[str, str]


class ShownSource(NamedTuple):
    name: str
    pictures: list[Picture]
    more: int
    """Variants that are not shown."""


class Gallery(NamedTuple):
    """`asked` is the number of sources that were to be shown; `unreadable` names the pictures that are left out."""

    sources: list[ShownSource]
    choices: list[Choice]
    asked: int
    unreadable: Problems

    @property
    def pictures(self) -> int:
        return sum(len(source.pictures) for source in self.sources)


def make_gallery(build: Finished, chosen: Sequence[Key], located: Located, progress: Progress) -> Gallery:
    """The chosen sources in their order, as many as a page has room for."""
    of_source = grouped(build.images.values())
    originals = {
        key: image.id for key, found in of_source.items() for image in found if image.operation == Original.name
    }
    transforms = sorted({image.transform for key in chosen for image in of_source[key] if image.transform})
    drawer = _Drawer(build, originals, located, {name: f"t{at}" for at, name in enumerate(transforms)})
    sources: list[ShownSource] = []
    text = 0
    for done, key in enumerate(chosen, start=1):
        source = drawer.source(of_source[key])
        text += sum(len(item.svg) for item in source.pictures)
        if text > MOST_TEXT:
            break
        sources.append(source)
        progress("drawing", done, len(chosen))
    return Gallery(sources, drawer.choices(sources), len(chosen), drawer.unreadable)


def grouped(found: Iterable[Image]) -> dict[Key, list[Image]]:
    """The images of each source, in the order of the file."""
    of_source: defaultdict[Key, list[Image]] = defaultdict(list)
    for image in found:
        of_source[key_of(image)].append(image)
    return dict(of_source)


class _Drawer:
    """Draws sources of a build; pictures whose files cannot be used are left out, and go to `unreadable`."""

    def __init__(
        self, build: Finished, originals: Mapping[Key, int], located: Located, transforms: Mapping[str, str]
    ) -> None:
        self.unreadable = Problems()
        self._build, self._originals, self._located, self._transforms = build, originals, located, transforms
        self._names = {item.id: item.name for item in build.categories}

    def source(self, variants: list[Image]) -> ShownSource:
        taken = choose_variants(variants)
        needed = {key for image in taken for key in pictures_of(image) if key in self._originals}
        ids = {image.id for image in taken} | {self._originals[key] for key in needed}
        annotations = annotations_of(sorted(ids), self._build, self._located)
        originals = {key: annotations[self._originals[key]] for key in needed}
        made = [self._picture(image, annotations[image.id], originals) for image in taken]
        name = variants[0].source_file_name or f"image {variants[0].source_id}"
        return ShownSource(name, [item for item in made if item is not None], len(variants) - len(taken))

    def _picture(
        self, image: Image, annotations: Sequence[Annotation], originals: Mapping[Key, Sequence[Annotation]]
    ) -> Picture | None:
        try:
            jpeg = _thumbnail(self._build.folder / build_layout.IMAGES, image)
        except ValueError as error:
            self.unreadable.add(f"{build_layout.IMAGES}/{image.file_name}: {error}")
            return None
        drawn = shapes.drawn(image, annotations, originals, self._names)
        counts = shapes.counts_text(drawn)
        about = f"{words.done(image)} of image {image.source_id}: {counts}"
        return Picture(
            picture(jpeg, image.height, image.width, drawn.shapes, about),
            words.done(image),
            words.donors(image),
            counts + (f"; the {drawn.left_out:,} smallest are not drawn" if drawn.left_out else ""),
            shapes.categories_text(drawn, self._names),
            {
                "operation": image.operation or "",
                "transform": self._transforms.get(image.transform or "", ""),
                "category": " ".join(map(str, sorted(drawn.categories))),
            },
        )

    def choices(self, sources: Sequence[ShownSource]) -> list[Choice]:
        """Filters by what the shown pictures have."""
        shown = [picture.shows for source in sources for picture in source.pictures]
        seen = {
            key: {word for item in shown for word in item[key].split()}
            for key in ("operation", "transform", "category")
        }
        operations = [(name, words.spoken(name)) for name in words.OPERATIONS if name in seen["operation"]]
        transforms = [(word, name) for name, word in self._transforms.items() if word in seen["transform"]]
        categories = [(str(id_), name) for id_, name in self._names.items() if str(id_) in seen["category"]]
        choices = [
            Choice("operation", "Operation", operations),
            Choice("transform", "Transform", transforms),
            Choice("category", "Category", sorted(categories, key=lambda item: item[1].casefold())),
        ]
        return [choice for choice in choices if choice.values]


def _thumbnail(folder: Path, image: Image) -> bytes:
    """Raises ValueError where the file is missing, cannot be read, or is of another size."""
    data = images.read_file(images.path_inside(folder, image.file_name))
    reading = images.examine(data, image.width, image.height)
    return thumbnail(images.decode(data, reading))
