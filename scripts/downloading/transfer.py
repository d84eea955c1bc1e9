"""One file over HTTP, in as many requests as it takes. Sizes and positions are in bytes throughout."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import click

from datasets.errors import DataError

if TYPE_CHECKING:  # imported where they are used, to keep --help fast
    from email.message import Message
    from http.client import HTTPResponse
    from urllib.error import HTTPError

    from tqdm import tqdm

WAITS = (1.0, 2.0, 4.0, 8.0)  # seconds between attempts without progress; one more ends the run
TIMEOUT = 60.0  # seconds without a byte
CHUNK = 1 << 16
MAY_PASS = (408, 429, 500, 502, 503, 504)  # HTTP statuses of a server in temporary trouble


class TransferError(Exception):
    """An attempt failed in a way that a retry may fix."""


class ResumeError(TransferError):
    """The server cannot resume our partial file; only a new download helps."""


class Remote(NamedTuple):
    """A file on a server.

    Where `exact` is False, the server makes the file anew for each request, so that nobody knows its size and nothing
    can be resumed; `size` is then the most that it may have.
    """

    name: str
    url: str
    size: int
    exact: bool = True
    by_hand: str = ""
    """What to do with a file that was downloaded by hand."""

    def kept(self, part: Path) -> int:
        """How much of `part` the next request can build on."""
        return length_of(part) if self.exact else 0


def body_start(status: int, headers: Message, offset: int, remote: Remote) -> int:
    """The file position of a response's body, after a request for the bytes from `offset` on.

    Raises DataError where the server lacks the file, TransferError where a retry may help.
    """
    url, size = remote.url, remote.size
    span = headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (?:([0-9]+)-[0-9]+|\*)/([0-9]+|\*)", span)
    if status in (206, 416) and match and match[2] not in ("*", str(size)):
        raise DataError(f"{url}: expected a file of {size} bytes, found Content-Range: {span} (HTTP status {status})")
    if status == 416:
        raise ResumeError("HTTP status 416 (it does not continue a download)")
    if status in MAY_PASS:
        raise TransferError(f"HTTP status {status}")
    if status not in (200, 206):
        raise DataError(f"{url}: expected HTTP status 200 or 206, found {status}")
    if status == 206 and (not match or match[1] != str(offset)):
        raise TransferError(f"expected the bytes from {offset} on, found Content-Range: {span or 'none'}")
    start = offset if status == 206 else 0
    check_length(headers.get("Content-Length", ""), status, start, remote)
    return start


def check_length(length: str, status: int, start: int, remote: Remote) -> None:
    """Raise DataError for the Content-Length of another file; it may be missing, and a server may send a part."""
    if not re.fullmatch(r"[0-9]+", length):
        return
    expected = remote.size - start
    if int(length) > expected or (remote.exact and status == 200 and int(length) != expected):
        raise DataError(f"{remote.url}: expected {bytes_text(remote, expected)}, found Content-Length: {length}")


def bytes_text(remote: Remote, count: int) -> str:
    return f"{count} bytes" if remote.exact else f"at most {count} bytes"


def length_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def progress(label: str, total: int | None, initial: int = 0) -> tqdm[NoReturn]:
    """A progress bar in bytes on stderr; none where that is not a terminal. `total` is None where it is unknown."""
    from tqdm import tqdm

    return tqdm(desc=label, total=total, initial=initial, unit="B", unit_scale=True, disable=None)


def open_at(url: str, offset: int) -> HTTPResponse | HTTPError:
    """The response, whatever its status, to a request for the bytes from `offset` on. Raises DataError or
    TransferError.
    """
    import http.client
    import urllib.error
    import urllib.request

    headers = {"User-Agent": "scarcedet", **({"Range": f"bytes={offset}-"} if offset else {})}
    try:
        response: HTTPResponse = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as answer:
        return answer
    except (ValueError, http.client.InvalidURL) as error:
        raise DataError(f"{url}: not a usable URL: {error}") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or str(error) or type(error).__name__
        raise TransferError(f"no answer ({reason})") from None
    return response


def chunks(response: HTTPResponse | HTTPError) -> Iterator[bytes]:
    """The body in pieces. Network errors become TransferError; a full disk raises in the caller."""
    import http.client

    try:
        while chunk := response.read(CHUNK):
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise TransferError(f"the connection broke ({str(error) or type(error).__name__})") from None


def fetch_rest(remote: Remote, part: Path) -> None:
    """One request for the missing part of `part`. Raises DataError, or TransferError if it is still incomplete."""
    offset = remote.kept(part)
    with open_at(remote.url, offset) as response:
        have = body_start(response.status or 0, response.headers, offset, remote)
        total = remote.size if remote.exact else None
        # A server that ignores Range sends everything, hence "wb".
        with part.open("ab" if have else "wb") as file, progress(remote.name, total, have) as bar:
            for chunk in chunks(response):
                have += len(chunk)
                if have > remote.size:
                    part.unlink()
                    raise DataError(
                        f"{remote.url}: expected {bytes_text(remote, remote.size)}, found more; {part} was removed"
                    )
                file.write(chunk)
                bar.update(len(chunk))
        missing = remote.size - have if remote.exact else unread(response)
    if missing:
        raise TransferError(f"the connection ended after {have} of {have + missing} bytes")


def unread(response: HTTPResponse | HTTPError) -> int:
    """How many of the announced bytes did not come: http.client does not mind where a body is read in pieces."""
    return getattr(response, "length", None) or 0


def attempt(remote: Remote, part: Path) -> str:
    """One request for the missing part of `part`; the reason why it is still incomplete, or "". Raises DataError."""
    try:
        fetch_rest(remote, part)
    except ResumeError as failure:
        part.unlink(missing_ok=True)
        return str(failure)
    except TransferError as failure:
        return str(failure)
    return ""


def download(remote: Remote, part: Path, waits: Sequence[float]) -> None:
    """Complete `part`, in as many requests as needed.

    `waits` are the seconds between attempts without progress; raises DataError after len(waits) + 1 of them in a row.
    Progress means more bytes than ever in this run, so that no server can make us restart forever.
    """
    best, failures = remote.kept(part), 0
    # A connection that breaks after the last byte is no failure.
    while (reason := attempt(remote, part)) and (have := remote.kept(part)) < remote.size:
        best, failures = max(best, have), 0 if have > best else failures + 1
        if failures > len(waits):
            raise DataError(f"{remote.url}: no progress in {failures} attempts", remedies(remote, part, reason))
        wait = waits[max(failures, 1) - 1] if waits else 0.0
        click.echo(f"{remote.name}: {reason}; trying again in {wait:g} s", err=True)
        time.sleep(wait)


def remedies(remote: Remote, part: Path, reason: str) -> list[str]:
    """What went wrong last, and what can be done."""
    lines = [reason, f"or download {remote.url} by hand, {remote.by_hand}"]
    if remote.exact:
        have = length_of(part)
        lines.insert(1, f"{have} of {remote.size} bytes are in {part}: the same command continues from there")
    else:
        lines[1] = f"try again later, {lines[1]}"
    return lines
