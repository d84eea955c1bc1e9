"""The pictures of the page: images with the worst mistakes, and those whose labels are suspect."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from datasets.analysis import KINDS, Kind, Suspect
from datasets.pages import pictures
from datasets.pages.page import Choice
from datasets.pages.pictures import Shape
from datasets.pages.thumbnails import Thumbnail, thumbnails
from datasets.records import Annotation, BoxXYWH
from train.page.judged import Detection, Judged, JudgedImage
from train.page.measured import Measured
from train.page.story import Sentence

if TYPE_CHECKING:
    from markupsafe import Markup

# Images that are shown of each kind: 12 kB each.
WORST, SUSPECT = 48, 24
MISSED = "Miss"
WRONG_LABEL, NO_LABEL = "label", "none"
LABELS = {NO_LABEL: "nothing annotated", WRONG_LABEL: "another category annotated"}

LEGEND = [
    ("truth", "annotated, and found"),
    ("predicted", "detected, and right"),
    ("wrong", "false alarm"),
    ("missed", "missed"),
    ("ignored", "a crowd, not judged"),
]
SUSPECT_LEGEND = [("truth", "annotated"), ("wrong", "detected, where the label says otherwise")]


class Item(NamedTuple):
    """A picture, or why there is none; `words` are those of its attributes, by key, for the filters."""

    name: str
    picture: Markup | None
    reason: str
    lines: list[str]
    words: dict[str, str]


class Gallery(NamedTuple):
    items: list[Item]
    choices: list[Choice]
    total: int
    """How many there would be without a limit."""
    unreadable: int


class Galleries(NamedTuple):
    worst: Gallery
    suspect: Gallery
    labels: int
    """Labels that are suspect."""

    def findings(self) -> list[Sentence]:
        """For the head of the page."""
        if not self.labels:
            return []
        text = f"{self.labels:,} confident detections contradict the labels of {self.suspect.total:,} images."
        return [Sentence("Labels to check", text)]


def galleries(measured: Measured, judged: Judged) -> Galleries:
    by_image: dict[int, list[Suspect]] = defaultdict(list)
    for item in judged.suspects:
        by_image[item.image_id].append(item)
    worst = judged.with_mistakes
    known = {item.image.id: item for item in judged.images}
    # The most confident first, as the suspects are.
    suspect = [known[image_id] for image_id in by_image]
    shown = {item.image.id: item.image for item in [*worst[:WORST], *suspect[:SUSPECT]]}
    files = measured.files
    follow_links = files.leniency is not None and files.leniency.follow_links
    made = thumbnails(list(shown.values()), files.images, follow_links=follow_links)
    names = measured.names
    return Galleries(
        worst=_gallery([_worst(item, made, names) for item in worst[:WORST]], _kinds(), names, len(worst)),
        suspect=_gallery(
            [_suspect(item, by_image[item.image.id], measured, made[item.image.id]) for item in suspect[:SUSPECT]],
            Choice("label", "Label", list(LABELS.items())),
            names,
            len(suspect),
        ),
        labels=len(judged.suspects),
    )


def _kinds() -> Choice:
    return Choice("kind", "Kind of error", [(kind, text) for kind, (text, _) in KINDS.items()])


def _gallery(items: list[Item], kinds: Choice, names: Mapping[int, str], total: int) -> Gallery:
    """With the choices that lead to something."""
    used = {key: {word for item in items for word in item.words[key].split()} for key in (kinds.key, "category")}
    categories = [(f"c{id_}", name) for id_, name in names.items()]
    choices = [
        Choice(choice.key, choice.label, [pair for pair in choice.values if pair[0] in used[choice.key]])
        for choice in (kinds, Choice("category", "Category", categories))
    ]
    return Gallery(items, choices, total, sum(item.picture is None for item in items))


def _worst(item: JudgedImage, made: Mapping[int, Thumbnail], names: Mapping[int, str]) -> Item:
    kinds = [found.kind for found in item.wrong if found.kind is not None]
    words: list[str] = [*dict.fromkeys(kinds), *([MISSED] if item.missed else [])]
    ids = [*(found.category_id for found in item.wrong), *(missed.category_id for missed in item.missed)]
    shapes = [
        *(_annotated(annotation, found, item, names) for annotation, found in item.annotations),
        *(_detected(found, item, names) for found in item.detections),
    ]
    return _item(item, made[item.image.id], shapes, _mistakes(item, names), {"kind": words, "category": _ids(ids)})


def _suspect(item: JudgedImage, suspects: Sequence[Suspect], measured: Measured, thumbnail: Thumbnail) -> Item:
    names, annotations = measured.names, measured.truth.annotations
    detections = {found.row: found for found in item.detections}
    lines: dict[tuple[str, str], list[float]] = defaultdict(list)
    shapes, words, ids = [], [], []
    for suspect in suspects:
        found = detections[suspect.detection]
        annotation = None if suspect.annotation is None else annotations[suspect.annotation]
        now = "nothing is annotated" if annotation is None else f"{names[annotation.category_id]} is annotated"
        lines[names[found.category_id], now].append(found.score)
        shapes.append(_wrong(found, f"where {now}", item, names))
        words.append(NO_LABEL if annotation is None else WRONG_LABEL)
        ids += [found.category_id, *([] if annotation is None else [annotation.category_id])]
    truth = [_annotated(annotation, True, item, names) for annotation, _ in item.annotations]
    told = [f"{name} {max(scores):.2f}{_more(scores)}, where {now}" for (name, now), scores in lines.items()]
    return _item(item, thumbnail, [*truth, *shapes], told, {"label": words, "category": _ids(ids)})


def _more(items: Sequence[object]) -> str:
    """How many there are beside the first."""
    return f" and {len(items) - 1:,} more" if len(items) > 1 else ""


def _ids(category_ids: Iterable[int]) -> list[str]:
    return [f"c{id_}" for id_ in category_ids]


def _item(
    item: JudgedImage, thumbnail: Thumbnail, shapes: Sequence[Shape], lines: list[str], words: dict[str, list[str]]
) -> Item:
    image = item.image
    reason, picture = "", None
    if isinstance(thumbnail, str):
        reason = thumbnail
    else:
        about = f"{image.file_name}: {'; '.join(lines)}"
        picture = pictures.picture(thumbnail, image.height, image.width, shapes, about)
    attributes = {key: " ".join(dict.fromkeys(values)) for key, values in words.items()}
    return Item(image.file_name, picture, reason, lines, attributes)


def _mistakes(item: JudgedImage, names: Mapping[int, str]) -> list[str]:
    """The worst of each kind, and how many more there are."""
    by_kind: dict[Kind, list[Detection]] = defaultdict(list)
    for found in item.wrong:
        if found.kind is not None:
            by_kind[found.kind].append(found)
    lines = [
        f"{KINDS[kind][0]}: {names[found[0].category_id]} {found[0].score:.2f}{_more(found)}"
        for kind, found in by_kind.items()
    ]
    missed = item.missed
    return [*lines, *([f"missed: {names[missed[0].category_id]}{_more(missed)}"] if missed else [])]


def _annotated(annotation: Annotation, found: bool, item: JudgedImage, names: Mapping[int, str]) -> Shape:
    name = names[annotation.category_id]
    if annotation.iscrowd:
        return Shape("ignored", annotation.bbox, f"{name}, not judged")
    if found:
        return Shape("truth", annotation.bbox, f"{name}, annotated")
    return Shape("missed", annotation.bbox, f"{name}, missed", label=_label(annotation.bbox, item, name, ""))


def _detected(found: Detection, item: JudgedImage, names: Mapping[int, str]) -> Shape:
    if found.kind is not None:
        return _wrong(found, KINDS[found.kind][0], item, names)
    about = f"{names[found.category_id]} {found.score:.2f}"
    return Shape("predicted", found.box_xywh, about if found.counts else f"{about}, not judged")


def _wrong(found: Detection, why: str, item: JudgedImage, names: Mapping[int, str]) -> Shape:
    score = f"{found.score:.2f}"
    about = f"{names[found.category_id]} {score}"
    return Shape("wrong", found.box_xywh, f"{about}, {why}", label=_label(found.box_xywh, item, about, score))


def _label(box_xywh: BoxXYWH, item: JudgedImage, label: str, short: str) -> str:
    """What stands in a box: `label` where there is room."""
    letters = pictures.letters_of(item.image.width)
    return label if pictures.label_width(label, letters) <= box_xywh[2] else short
