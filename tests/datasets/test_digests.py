"""SHA-256 of files, by hashlib on the whole of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from datasets.digests import BLOCK, sha256_file


def test_digests_are_sha256_of_files_of_any_size(tmp_path: Path) -> None:
    for size in (0, 1, BLOCK, BLOCK + 1):
        data = bytes(index % 251 for index in range(size))
        (tmp_path / "file").write_bytes(data)
        assert sha256_file(tmp_path / "file") == hashlib.sha256(data).hexdigest()
