"""The fixtures that are functions, with their types: `Callable[..., X]` would check no argument."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Container
    from pathlib import Path

    from augment.compiler.build import Built
    from augment.operations.parameters import Recipe
    from datasets.checks import Leniency
    from datasets.coco import ReadFile
    from datasets.errors import DataError
    from datasets.parallel import Run
    from datasets.sources import Input
    from tests.conftest import Drawing

Outcome = TypeVar("Outcome", covariant=True)


class Draw(Protocol):
    """draw(folder, only=(7, 3), masks=False): writes a dataset and returns where it is (`tests.conftest.draw_coco`)."""

    def __call__(
        self,
        folder: Path,
        drawings: list[Drawing] = ...,
        *,
        only: Container[int] | None = None,
        masks: bool = True,
    ) -> Input: ...


class Make(Protocol):
    """make(input or inputs, output, recipe, ...): a build in this process."""

    def __call__(
        self,
        inputs: Input | list[Input],
        output: Path,
        chosen: str | Recipe = "expanded",
        *,
        run: Run | None = None,
        progress: Callable[[str, int, int], None] = ...,
        restart: bool = False,
        limit: int | None = None,
        link: bool = False,
        strict: bool = False,
        leniency: Leniency = ...,
    ) -> Built: ...


class Edit(Protocol):
    """edit(folder, change, file): changes a JSON file of a build in place, and signs it."""

    def __call__(
        self, folder: Path, change: Callable[[Any], Any], file: str = "annotations/instances.json"
    ) -> None: ...


class Python(Protocol):
    """python("-c", "...", cwd=...): another process that finds the project from any folder."""

    def __call__(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]: ...


class Reading(Protocol[Outcome]):
    """reading(document or bytes, ...): writes an annotation file and reads it (`tests/datasets/conftest.py`)."""

    def __call__(
        self,
        content: Any,
        *,
        strict: bool = False,
        provenance: bool = False,
        leniency: Leniency | None = None,
        images: Path | None = None,
        as_written: bool = False,
    ) -> Outcome: ...


# What was read, and the error of a file that must be refused.
Read: TypeAlias = "Reading[ReadFile]"
Refused: TypeAlias = "Reading[DataError]"


class Tiff(Protocol):
    """tiff(orientation, order="<" or ">", kind=3, thumbnail=b""): the TIFF block of an EXIF."""

    def __call__(self, orientation: int, order: str = "<", kind: int = 3, thumbnail: bytes = b"") -> bytes: ...
