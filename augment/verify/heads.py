"""The keys of an annotation that verification reads in the parent process, which leaves the rest to workers."""

from __future__ import annotations

import msgspec


class AnnotationHead(msgspec.Struct):
    id: int
    image_id: int
    category_id: int
    iscrowd: int = 0


_decoder = msgspec.json.Decoder(AnnotationHead)


def read_head_of(record: bytes) -> AnnotationHead | None:
    """None for a record that does not parse, which a worker reports."""
    try:
        return _decoder.decode(record)
    except msgspec.DecodeError:
        return None
