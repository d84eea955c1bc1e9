"""Lineage: where weights come from. Every checkpoint records its ancestors, down to random or third-party weights.

A lineage is plain dicts and lists, as checkpoints are. It ends in `root`; above it, `descent` names the checkpoint that
a run started from, `average` the averaged ones: file name and SHA-256, configuration, digests of the data, versions of
the code, and their own lineage.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from datasets import __version__
from datasets.checkout import commit
from datasets.errors import DataError
from train import config
from train.checkpoints.checkpoint import EMA, Loaded

RANDOM = "random weights"
# A longer lineage was made to exhaust its reader.
MAX_ANCESTORS, MAX_GENERATIONS = 500, 100
# Keys of a checkpoint that its descendants record.
_KEPT = ("name", "iteration", "epoch", "config", "data", "code")


def root(seed: int) -> dict[str, Any]:
    """The lineage of random weights."""
    return {"pretrained": False, "from": RANDOM, "seed": seed}


def third_party(path: Path, sha256: str) -> dict[str, Any]:
    """The lineage of third-party weights, which --allow-pretrained admits."""
    return {"pretrained": True, "from": path.name, "sha256": sha256, "allowed_by": "--allow-pretrained"}


def descent(parent: Loaded) -> dict[str, Any]:
    """The lineage of a run that started from a checkpoint, or where it has one from its moving average."""
    averaged = {EMA: True} if EMA in parent.content else {}
    return {
        "pretrained": is_pretrained(parent.lineage),
        "from": "checkpoint",
        "parents": [_ancestor(parent) | averaged],
    }


def average(epochs: Sequence[Loaded]) -> dict[str, Any]:
    """The lineage of averaged epochs of one run; they share a lineage, which is stored once."""
    averaged = [
        {"file": loaded.path.name, "sha256": loaded.sha256, "iteration": loaded.content["iteration"]}
        for loaded in epochs
    ]
    last = epochs[-1]
    return {
        "pretrained": is_pretrained(last.lineage),
        "from": "average",
        "parents": [_ancestor(last)],
        "averaged": averaged,
    }


def _ancestor(loaded: Loaded) -> dict[str, Any]:
    told = {key: loaded.content[key] for key in _KEPT if key in loaded.content}
    return {"file": loaded.path.name, "sha256": loaded.sha256, **told, "lineage": loaded.lineage}


def is_pretrained(lineage: Any) -> bool:
    """Whether weights are pretrained; anything but a clear record of random weights is."""
    return not isinstance(lineage, dict) or lineage.get("pretrained") is not False


class Doubt(NamedTuple):
    """Why weights are not, or may not be, from scratch; `checkpoint` names the ancestor concerned."""

    checkpoint: str
    reason: str

    def __str__(self) -> str:
        return f"{self.checkpoint} {self.reason}"


def doubts(name: str, lineage: Any) -> list[Doubt]:
    """Every reason not to call a checkpoint trained from scratch; none for one that is."""
    if _is_endless(lineage):
        return [Doubt(name, f"names more than {MAX_ANCESTORS} ancestors or {MAX_GENERATIONS} generations of them")]
    return _doubts(name, lineage)


def _doubts(name: str, lineage: Any) -> list[Doubt]:
    if not isinstance(lineage, dict):
        return [Doubt(name, "does not say where its weights come from")]
    if lineage.get("from") == RANDOM and not is_pretrained(lineage):
        return []
    parents = _parents(lineage)
    if not parents:
        source = lineage.get("from")
        return [
            Doubt(name, f"starts from {source}, which was trained elsewhere" if source else "does not say from what")
        ]
    of_parents = [doubt for parent in parents for doubt in _doubts(_file(parent), parent.get("lineage"))]
    # Explicit statements count more than what can be followed.
    marked = [Doubt(name, "is marked as going back to pre-trained weights")] if is_pretrained(lineage) else []
    return of_parents or marked


def _parents(lineage: dict[str, Any]) -> list[dict[str, Any]]:
    """The parents of a lineage; what is not a dict records nothing."""
    parents = lineage.get("parents")
    if parents is None and isinstance(lineage.get("parent"), dict):
        # As the first version wrote it.
        return [{"file": lineage.get("from"), "sha256": lineage.get("sha256"), "lineage": lineage["parent"]}]
    return [item if isinstance(item, dict) else {} for item in parents] if isinstance(parents, list) else []


def _file(parent: dict[str, Any]) -> str:
    return str(parent.get("file", "an ancestor"))


def _is_endless(lineage: Any) -> bool:
    """Whether a lineage unfolds to too many ancestors; a small file can describe a huge tree."""
    level, count = [lineage], 0
    for _ in range(MAX_GENERATIONS):
        count += len(level)
        if count > MAX_ANCESTORS:
            return True
        level = [parent.get("lineage") for item in level if isinstance(item, dict) for parent in _parents(item)]
    return bool(level)


def describe(loaded: Loaded) -> list[str]:
    """Lines of text: the checkpoint, what it was trained on and with, and below it the same for each ancestor."""
    reasons = doubts(loaded.path.name, loaded.lineage)
    known = _ancestor(loaded)
    if _is_endless(loaded.lineage):
        del known["lineage"]
    return [
        *_entry(str(loaded.path), known, ""),
        "from scratch: no" if reasons else "from scratch: yes",
        *(f"  {doubt}" for doubt in reasons),
    ]


def document(loaded: Loaded) -> dict[str, Any]:
    """The same as a JSON document."""
    reasons = doubts(loaded.path.name, loaded.lineage)
    known = _ancestor(loaded) | {"file": str(loaded.path)}
    if _is_endless(loaded.lineage):
        del known["lineage"]
    return {**known, "from_scratch": not reasons, "doubts": [str(doubt) for doubt in reasons]}


def _entry(name: str, known: dict[str, Any], indent: str) -> list[str]:
    data = known.get("data")
    lines = [f"{indent}{name}", f"{indent}  sha256 {known.get('sha256', '-')}", f"{indent}  {_training(known)}"]
    if isinstance(data, dict):
        lines.append(f"{indent}  data {_data(data)}")
    if isinstance(known.get("config"), str):
        lines.append(f"{indent}  config sha256 {config_digest(known['config'])}")
        lines += [f"{indent}  beyond the paper {setting}" for setting in _beyond_paper(known["config"])]
    lines += [f"{indent}  code {text}" for text in _texts(known.get("code"))]
    return [*lines, *_origin(known.get("lineage"), f"{indent}  ")]


def _training(known: dict[str, Any]) -> str:
    epoch = known.get("epoch")
    reached = f", epoch {epoch:.2f}" if isinstance(epoch, float) else ""
    iteration = known.get("iteration")
    return f"{known.get('name', 'a model')}, iteration {iteration if isinstance(iteration, int) else '-'}{reached}"


def _beyond_paper(text: str) -> list[str]:
    """The settings of a configuration that the paper did not have; none where it cannot be read."""
    try:
        return config.beyond_paper(config.from_text(text, "the lineage"))
    except DataError:
        return []


def _data(data: dict[str, Any]) -> str:
    digest = data.get("manifest_sha256")
    what = f"manifest sha256 {digest}" if digest else f"sha256 {data.get('annotations_sha256', '-')}"
    left_out = data.get("left_out") or []
    kept = f", {_count(data.get('categories'))} categories" + (f", {_count(left_out)} left out" if left_out else "")
    online = data.get("online")
    drawn = f", drawn online by {online.get('name', '-')}" if isinstance(online, dict) else ""
    return f"{data.get('annotations', '-')}: {data.get('images', '-')} images{kept}, {what}{drawn}"


def _count(found: Any) -> int | str:
    return len(found) if isinstance(found, list) else "-"


def _origin(lineage: Any, indent: str) -> list[str]:
    if not isinstance(lineage, dict):
        return [f"{indent}started from: not written down"]
    if lineage.get("from") == RANDOM:
        return [f"{indent}started from {RANDOM}, seed {lineage.get('seed', '-')}"]
    parents = _parents(lineage)
    if not parents:
        return [f"{indent}started from {lineage.get('from', '?')}, sha256 {lineage.get('sha256', '-')}"]
    of_ema = any(parent.get(EMA) is True for parent in parents)
    lines = [f"{indent}started from{' the moving average of' if of_ema else ''}"]
    if lineage.get("from") == "average":
        averaged = lineage.get("averaged")
        known = [item for item in averaged if isinstance(item, dict)] if isinstance(averaged, list) else []
        lines = [f"{indent}the average of the weights of"]
        lines += [f"{indent}  {_file(item)}, sha256 {item.get('sha256', '-')}" for item in known]
        lines += [f"{indent}of which the last is"]
    return lines + [line for parent in parents for line in _entry(_file(parent), parent, f"{indent}  ")]


def _texts(found: Any) -> list[str]:
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []


def config_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def code_version() -> str:
    """The project's version, with the commit where the code runs from a checkout, and torch's version."""
    import torch

    revision = commit()
    return f"scarcedet {__version__}{f' (commit {revision})' if revision else ''}, torch {torch.__version__}"
