"""The HTTP client for package indexes, with pip's settings."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping, Sequence
from typing import Any, cast

from unearth.auth import MultiDomainBasicAuth
from unearth.collector import is_secure_origin
from unearth.fetchers.sync import PyPIClient
from unearth.link import Link

from datasets.errors import DataError


class Session(PyPIClient):
    """unearth's HTTP client with pip's settings; keeps the file sizes of JSON pages (PEP 700), which unearth drops."""

    def __init__(self, settings: Mapping[str, str], index_urls: Sequence[str]) -> None:
        options: dict[str, Any] = {"follow_redirects": True, "timeout": float(_timeout(settings))}
        if "cert" in settings:
            options["verify"] = ssl.create_default_context(cafile=settings["cert"])
        if "proxy" in settings:
            options["proxy"] = settings["proxy"]
        super().__init__(trusted_hosts=settings.get("trusted-host", "").split(), **options)
        self.auth = MultiDomainBasicAuth(index_urls=list(index_urls))
        self.sizes: dict[str, int] = {}

    def get(self, url: Any, **options: Any) -> Any:
        shown = Link(str(url)).redacted
        try:
            response = super().get(url, **options)
        except Exception as error:  # those of the HTTP library below this unearth
            raise DataError(f"{shown}: no answer: {str(error) or type(error).__name__}") from None
        if response.status_code in (401, 403, 407) or response.status_code >= 500:
            raise DataError(f"{shown}: expected a page of an index, found HTTP status {response.status_code}")
        if "json" in response.headers.get("Content-Type", ""):
            self.sizes |= json_sizes(response.content)
        return response

    def length(self, url: str) -> int | None:
        """The size of a file that a server states; None for none."""
        try:
            response = self.head(url)
        except Exception:  # as in get; an unknown size is no failure
            return None
        length = response.headers.get("Content-Length", "") if response.status_code == 200 else ""
        return int(length) if length.isascii() and length.isdigit() else None


def check_trusted(session: Session, urls: Sequence[str]) -> None:
    """Raise DataError for an index that pip would ignore with a warning."""
    for url in urls:
        link = Link(url)
        if link.parsed.scheme == "http" and not is_secure_origin(cast(Any, session), link):
            raise DataError(
                f"{link.redacted}: expected https, which pip wants of an index; "
                f"PIP_TRUSTED_HOST={link.parsed.hostname} allows this one"
            )


def _timeout(settings: Mapping[str, str]) -> str:
    text = settings.get("timeout", settings.get("default-timeout", ""))
    return text if text.isascii() and text.isdigit() else "15"  # pip's own default


def json_sizes(page: bytes) -> dict[str, int]:
    """Sizes of the files on a JSON page of an index; invalid sizes are skipped."""
    try:
        files = json.loads(page)["files"]
        sizes = {file["filename"]: file.get("size") for file in files}
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}
    return {name: size for name, size in sizes.items() if type(size) is int and size >= 0}
