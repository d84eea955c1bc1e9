"""A sequence in one block of bytes, which workers share with their parent."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Sequence
from typing import TypeVar, overload

import numpy as np

T = TypeVar("T")


class Packed(Sequence[T]):
    """Items that are unpickled one by one, when they are asked for.

    Python objects are copied by every worker that only looks at them, since looking counts references (Detectron2 issue
    837). Bytes stay shared.
    """

    def __init__(self, items: Iterable[T]) -> None:
        packed = [pickle.dumps(item, protocol=pickle.HIGHEST_PROTOCOL) for item in items]
        self._ends = np.cumsum([len(item) for item in packed], dtype=np.int64)
        self._bytes = np.frombuffer(b"".join(packed), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self._ends)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        start = 0 if at == 0 else int(self._ends[at - 1])
        item: T = pickle.loads(self._bytes[start : int(self._ends[at])].data)
        return item
