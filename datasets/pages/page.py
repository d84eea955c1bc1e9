"""Pages from jinja2 templates, with the style sheet and the script inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from datasets import __version__
from datasets.errors import DataError
from datasets.outputs import file_to_write
from datasets.staging import write_durably

TEMPLATES = Path(__file__).parent / "templates"


class Number(NamedTuple):
    """A number at the head of a page: `64,914`, `images`."""

    value: str
    about: str


class Choice(NamedTuple):
    """A filter of a gallery: the items whose attribute `data-KEY` has the chosen one of `values` among its words.

    `values` are pairs of a word without spaces and how it is shown.
    """

    key: str
    label: str
    values: list[tuple[str, str]]


def render(folder: Path, template: str, /, **content: Any) -> str:
    """The page of a `template` in `folder`, which extends page.html and may import parts.html.

    All text is escaped but for `Markup`, so that names from datasets cannot become elements.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(version=__version__, **content)


def write(output: Path, page: str, inputs: tuple[Path, ...] = ()) -> None:
    """Raises DataError where `output` is one of the `inputs` or cannot be written."""
    target = file_to_write(output, inputs)
    try:
        write_durably(target, page)
    except OSError as error:
        raise DataError(f"{output}: cannot be written: {error.strerror or error}") from None
