"""A file appears whole or not at all."""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file beside the target that takes its place at the end, or goes away."""
    target = Path(os.path.realpath(path))  # a symbolic link stays, what it names is replaced
    try:
        before = target.stat()
    except FileNotFoundError:
        before = None
    if before is not None and not stat.S_ISREG(before.st_mode):
        raise OSError(f"{path} is no plain file, and cannot be replaced by one; give another name")
    _remove_abandoned(target)
    temporary = target.with_name(f"{_unfinished(target)}{secrets.token_hex(8)}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    mode = 0o666 if before is None else stat.S_IMODE(before.st_mode)
    try:
        with open(os.open(temporary, flags, mode & 0o777), "wb") as file:
            if before is not None and os.name == "posix":
                with contextlib.suppress(PermissionError):  # its owner, as far as one may; first: it clears mode bits
                    os.fchown(file.fileno(), before.st_uid, before.st_gid)
                os.fchmod(file.fileno(), mode)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """The rename itself should reach the disk too. Where it can't be asked for, the new file stands all the same."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


ABANDONED = 3600  # seconds after which nobody can still be writing
LONGEST = 255 - len(f"..{'0' * 16}.tmp")  # bytes of a name that fit into the unfinished file's


def _unfinished(target: Path) -> str:
    """How the names of unfinished files begin."""
    return f".{os.fsencode(target.name)[:LONGEST].decode(errors='ignore')}."


def _remove_abandoned(target: Path) -> None:
    """A writer that was killed left its unfinished file; saved often, they would fill the disk."""
    with contextlib.suppress(OSError):  # a folder that may not be listed
        for unfinished in target.parent.glob(f"{glob.escape(_unfinished(target))}{'[0-9a-f]' * 16}.tmp"):
            with contextlib.suppress(OSError):  # another writer took it away, or it is somebody else's
                if time.time() - unfinished.stat().st_mtime > ABANDONED:
                    unfinished.unlink()
