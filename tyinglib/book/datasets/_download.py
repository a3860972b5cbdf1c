"""One file from the network: checked, continued where it broke off, never half a file under its name.

Written here because what does this well does not continue a download (pooch), and would bring requests into a library
that needs it once. The lock is filelock's, which comes with torch.
"""

from __future__ import annotations

import contextlib
import io
import os
import time
import urllib.request
from collections.abc import Callable, Sequence
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError

from filelock import FileLock
from tqdm import tqdm

TRIES = 4  # of one address, when the connection breaks
TIMEOUT = 30.0  # seconds of silence; and those after which an answer must have come at the slowest pace, on average
SLOWEST = 2000.0  # bytes a second
CHUNK = 1 << 18


def fetch(urls: Sequence[str], target: Path, *, check: Callable[[Path], object], limit: int) -> None:
    """Bring a file to `target` from the first address that has it; OSError, with a line an address, if none does.

    `check` raises ValueError for any file but the one wanted. `limit` is the most bytes it can have. What came before
    a connection broke is kept beside the target as .part, and the next call goes on from there. A second process
    waits for the first and finds its file.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if target.exists():
            return
        part = target.with_name(f"{target.name}.part")
        reasons = []
        for url in urls:
            try:
                _bring(url, part, check, limit)
            except (OSError, HTTPException, ValueError) as error:
                reasons.append(f"{url}: {error}")
            else:
                os.replace(part, target)
                _sync_folder(target.parent)
                return
    raise OSError("\n".join(reasons))


def _bring(url: str, part: Path, check: Callable[[Path], object], limit: int) -> None:
    """A checked file at `part`; if what is there is wrong it is removed."""
    tries = 0
    while True:
        start = part.stat().st_size if part.exists() else 0
        try:
            _append(url, part, start, limit)
            check(part)
        except ValueError:
            part.unlink(missing_ok=True)
            if start == 0:
                raise
            # what was there before may have been the fault: once more, from the beginning
        except (OSError, HTTPException):
            tries += 1
            if tries == TRIES or not part.exists() or part.stat().st_size <= start:
                raise
        else:
            return


def _append(url: str, part: Path, start: int, limit: int) -> None:
    """What is missing from byte `start` on; all of it, if the server cannot begin there."""
    headers = {"User-Agent": "tyinglib", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        response = _OPENER.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        with error:
            if error.code == 416 and start:  # no byte beyond: whole already, or wrong; the check decides
                return
            raise
    with response:
        if response.status != 206:  # all of it; of a wrong range, the check will tell
            start = 0
        length = response.headers.get("Content-Length")
        end = start + int(length) if length is not None and length.isdigit() else None
        if (end or 0) > limit:
            raise ValueError(f"expected at most {limit} bytes, the server announces {end}")
        with open(part, "r+b" if start else "wb") as file:
            file.seek(start)
            try:
                _copy(response, file, part.stem, end, limit)
            finally:
                file.flush()
                os.fsync(file.fileno())


def _copy(response: HTTPResponse, file: IO[bytes], name: str, end: int | None, limit: int) -> None:
    with tqdm(total=end, initial=file.tell(), unit="B", unit_scale=True, desc=name, leave=False) as bar:
        while chunk := response.read1(CHUNK):
            if file.tell() + len(chunk) > limit:
                raise ValueError(f"expected at most {limit} bytes, more came")
            bar.update(file.write(chunk))
    if end is not None and file.tell() < end:
        raise ConnectionError(f"the connection ended after {file.tell()} of {end} bytes")


def _sync_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # not every system can, and the file itself is safe
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class _Paced(io.RawIOBase):
    """An answer as it comes in, headers and all. One byte before every time limit would last forever: it ends here."""

    def __init__(self, inner: io.RawIOBase) -> None:
        self._inner, self._start, self._came = inner, time.monotonic(), 0

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._inner.fileno()

    def readinto(self, buffer: Any) -> int | None:
        count = self._inner.readinto(buffer)
        self._came += count or 0
        seconds = time.monotonic() - self._start
        if count and seconds > TIMEOUT and self._came < SLOWEST * seconds:
            raise TimeoutError(f"{self._came} bytes came in {seconds:.0f} seconds, less than {SLOWEST:g} a second")
        return count

    def close(self) -> None:
        self._inner.close()
        super().close()


class _Response(HTTPResponse):
    def __init__(self, sock: Any, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_Paced(self.fp.detach()))


class _Connection(HTTPConnection):
    response_class = _Response


class _SecureConnection(HTTPSConnection):
    response_class = _Response


class _Handler(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> HTTPResponse:
        return self.do_open(_Connection, req)


class _SecureHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> HTTPResponse:
        return self.do_open(_SecureConnection, req)


def _opener() -> urllib.request.OpenerDirector:
    """The web only: urllib's own would follow a redirect to ftp."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.UnknownHandler,
        _Handler,
        _SecureHandler,
        urllib.request.HTTPDefaultErrorHandler,
        urllib.request.HTTPRedirectHandler,
        urllib.request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


_OPENER = _opener()
