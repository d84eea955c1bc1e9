"""Command-line options that several commands share, with the same meaning in all of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.core import ParameterSource

from datasets import __version__

if TYPE_CHECKING:
    from datasets.checks import Leniency
    from datasets.sources import Input
    from datasets.spec import SplitName

PATH = click.Path(path_type=Path)
SPLITS = click.Choice(["train", "val", "test"])

Command = Callable[..., None]
Decorator = Callable[[Command], Command]

EITHER = "give either --annotations and --images, or --data"
EITHER_OR_ALONE = "give either --annotations and --images, --images alone, or --data"
DATA_HELP = "Instead of these: data in datasets/specs/, a file like those, or the folder of a build."


def with_options(*options: Callable[..., Any]) -> Decorator:
    """A decorator that adds click options, in their order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def group(function: Callable[[], None]) -> click.Group:
    """A click group with the settings that all stages share, and --version."""
    made = click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})(function)
    return click.version_option(__version__, prog_name="scarcedet")(made)


class Images(NamedTuple):
    """The images that a command is about: an annotation file, and the folder of the files, where it is known.

    `data` and `split` say how they were named; both are None where --annotations was given.
    """

    annotations: Path
    folder: Path | None
    data: str | None = None
    split: str | None = None


class AskedFor(NamedTuple):
    """The options of `images_of`, not resolved yet, so that wrong usage is reported before missing data."""

    annotations: Path | None
    folder: Path | None
    data: str | None
    split: SplitName

    def resolved(self) -> Images:
        """Resolve --data. Raises DataError where there is none of that name."""
        if self.data is None:
            assert self.annotations is not None, "images_of took one of the two"
            return Images(self.annotations, self.folder)
        from datasets.spec import input_of

        source = input_of(self.data, self.split)
        return Images(source.annotations, self.folder or source.images, self.data, self.split)

    def input(self) -> Input:
        """As `resolved`, for a command with `files_needed`."""
        from datasets.sources import Input

        images = self.resolved()
        assert images.folder is not None, "files_needed"
        return Input(images.annotations, images.folder)

    def pictures(self) -> tuple[Path | None, Path]:
        """The annotation file, None for --images `alone`, and the folder."""
        if self.annotations is None and self.data is None:
            assert self.folder is not None, "alone"
            return None, self.folder
        return self.input()


def images_of(split: SplitName, *, files_needed: bool, about: str, alone: bool = False) -> Decorator:
    """Options for one annotation file: --annotations and --images, or --data and --split; the command gets `images`.

    `split` is the default split. Without `files_needed`, --images may be left out; with `alone`, --annotations may.
    `about` is the help of --images.
    """

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def wrapped(
            annotations: Path | None, image_folder: Path | None, data: str | None, split: SplitName, **chosen: Any
        ) -> None:
            _check_split(data)
            asked = AskedFor(annotations, image_folder, data, split)
            is_folder = alone and asked.folder is not None and asked.annotations is None and asked.data is None
            if not is_folder and not _is_whole(asked, files_needed=files_needed):
                either = EITHER_OR_ALONE if alone else EITHER
                raise click.UsageError(either if files_needed else "give either --annotations or --data")
            command(images=asked, **chosen)

        return with_options(
            click.option("--annotations", type=PATH, help="COCO annotation file; it need not have objects."),
            click.option("--images", "image_folder", type=PATH, help=about),
            click.option("--data", metavar="NAME|FILE|DIR", help=DATA_HELP),
            click.option("--split", type=SPLITS, default=split, show_default=True, help="Which split of --data."),
        )(wrapped)

    return decorate


def _is_whole(asked: AskedFor, *, files_needed: bool) -> bool:
    if files_needed:
        return (asked.annotations is None) == (asked.folder is None) == (asked.data is not None)
    return (asked.annotations is None) == (asked.data is not None)


def inputs(command: Command) -> Command:
    """Options for several inputs: --annotations and --images, each repeatable, or --data; the command gets `inputs`."""

    @functools.wraps(command)
    def wrapped(
        annotations: tuple[Path, ...],
        images: tuple[Path, ...],
        data: str | None,
        split: SplitName | None,
        **chosen: Any,
    ) -> None:
        command(inputs=_several(annotations, images, data, split), **chosen)

    return with_options(
        click.option("--annotations", type=PATH, multiple=True, help="COCO annotation file; may be repeated."),
        click.option("--images", type=PATH, multiple=True, help="Image folder of each annotation file."),
        click.option("--data", metavar="NAME|FILE|DIR", help=DATA_HELP),
        click.option("--split", type=SPLITS, help="Which split of --data.  [default: those that `compile` names]"),
    )(wrapped)


def _several(
    annotations: Sequence[Path], images: Sequence[Path], data: str | None, split: SplitName | None
) -> list[Input]:
    from datasets.sources import Input
    from datasets.spec import inputs_of

    _check_split(data)
    if data is not None:
        if annotations or images:
            raise click.UsageError(EITHER)
        return inputs_of(data, None if split is None else (split,))
    if not annotations and not images:
        raise click.UsageError(EITHER)
    if len(annotations) != len(images):
        raise click.UsageError(
            f"expected one --images for each --annotations, found {len(annotations)} --annotations "
            f"and {len(images)} --images"
        )
    return [Input(*pair) for pair in zip(annotations, images, strict=True)]


def _check_split(data: str | None) -> None:
    given = click.get_current_context().get_parameter_source("split") == ParameterSource.COMMANDLINE
    if given and data is None:
        raise click.UsageError("--split goes with --data")


def leniency(command: Command) -> Command:
    """The options of `datasets.checks.Leniency`; the command gets `leniency`."""

    @functools.wraps(command)
    def wrapped(clip_boxes: bool, skip_bad: bool, follow_links: bool, **chosen: Any) -> None:
        command(leniency=_leniency(clip_boxes, skip_bad, follow_links), **chosen)

    return with_options(
        click.option(
            "--clip-boxes", is_flag=True, help="Clip boxes however far they lie outside their image; 1 px always is."
        ),
        skip_bad_option,
        follow_links_option,
    )(wrapped)


def _leniency(clip_boxes: bool, skip_bad: bool, follow_links: bool) -> Leniency:
    from datasets.checks import Leniency

    return Leniency(clip_boxes, skip_bad, follow_links)


skip_bad_option = click.option(
    "--skip-bad", is_flag=True, help="Leave out images and annotations that cannot be used; all are counted."
)

follow_links_option = click.option(
    "--follow-links",
    is_flag=True,
    help="Read image files that lie outside of their image folder, by a symbolic link in it.",
)

json_output = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")

trained_on = click.option(
    "--trained-on",
    type=PATH,
    multiple=True,
    help="What models of other tools were trained on: the folder of a build, a COCO file.",
)
