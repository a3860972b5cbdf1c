"""What is fetched: whole and checked, or not there. Against a server on this machine."""

import gzip
import hashlib
import itertools
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest

from tyinglib.book.datasets import _download, _sources
from tyinglib.book.datasets._download import fetch
from tyinglib.book.datasets._idx import read_idx
from tyinglib.book.datasets._sources import File, Source

CONTENT = np.random.RandomState(0).bytes(600_000)
WANTED = hashlib.sha256(CONTENT).hexdigest()


def check(path):
    if hashlib.sha256(path.read_bytes()).hexdigest() != WANTED:
        raise ValueError("not the file that was wanted")


get = partial(fetch, check=check, limit=len(CONTENT))


class Handler(BaseHTTPRequestHandler):
    """Serves what the paths say: /whole, /wrong, /breaks (the answer ends early), /moved, ..."""

    def do_GET(self):
        server, path = self.server, self.path.split("/")[1]
        server.asked.append(path)
        body = {"wrong": b"<html>log in</html>", "other": CONTENT[::-1], "endless": CONTENT * 3} | server.files
        body = body.get(path, CONTENT)
        if path == "drips":
            self.drip()
            return
        if path in ("moved", "to-ftp", "round"):
            self.send_response(302)
            self.send_header("Location", {"moved": "/whole", "to-ftp": "ftp://127.0.0.1/x", "round": "/round"}[path])
            self.end_headers()
            return
        if path == "gone":
            self.send_error(404)
            return
        self.send_response(200)
        if path not in ("no-length", "endless"):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if path == "slow":
            server.begun.set()
            server.go_on.wait(10)
        self.wfile.write(body[:250_000] if path == "breaks" else body)
        self.close_connection = True

    def drip(self):
        """A byte every 10 ms: never silent, and 600,000 take a hundred minutes. This one ends after six seconds."""
        self.send_response(200)
        self.send_header("Content-Length", "600000")
        self.end_headers()
        for _ in range(600):
            self.wfile.write(b"0")
            time.sleep(0.01)
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_):  # a client that hangs up is part of the tests
            pass

    with Server(("127.0.0.1", 0), Handler) as running:
        running.asked, running.files = [], {}
        running.begun, running.go_on = threading.Event(), threading.Event()
        running.url = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def there(folder):
    """The names in a folder, but for locks."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


@pytest.mark.parametrize("path", ["whole", "moved", "no-length"])
def test_a_file_arrives_whole(server, tmp_path, path):
    target = tmp_path / "deep" / "file.gz"
    get([f"{server.url}/{path}"], target)
    assert target.read_bytes() == CONTENT
    assert there(target.parent) == ["file.gz"]
    asked = len(server.asked)
    get([f"{server.url}/{path}"], target)  # it is there: nothing is asked for
    assert len(server.asked) == asked


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("wrong", "not the file that was wanted"),
        ("other", "not the file that was wanted"),
        ("gone", "404"),
        ("to-ftp", "No connection adapters were found for 'ftp:"),
        ("round", "redirect"),
        ("breaks", "250000 bytes read, 350000 more expected"),
        ("endless", "expected at most 600000 bytes, more came"),
    ],
)
def test_nothing_else_is_kept(server, tmp_path, path, message):
    with pytest.raises(OSError, match=message):
        get([f"{server.url}/{path}"], tmp_path / "file")
    assert there(tmp_path) == []
    get([f"{server.url}/{path}", f"{server.url}/whole"], tmp_path / "file")  # the second address has it
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_a_server_that_drips_is_left(server, tmp_path, monkeypatch):
    """It held the downloader, and everybody who waits for its lock, for as long as it liked."""
    clock = itertools.count()  # a second for every read, however fast this machine is
    monkeypatch.setattr(_download, "time", SimpleNamespace(monotonic=clock.__next__))
    with pytest.raises(OSError, match=r"bytes came in \d+ seconds, less than 1000 a second"):
        get([f"{server.url}/drips"], tmp_path / "file")
    get([f"{server.url}/drips", f"{server.url}/whole"], tmp_path / "file")  # the second address has it
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_no_address_answers(tmp_path):
    with pytest.raises(OSError, match=r"(?s)http://127\.0\.0\.1:9/a: .*refused.*http://127\.0\.0\.1:9/b: "):
        get(["http://127.0.0.1:9/a", "http://127.0.0.1:9/b"], tmp_path / "file")


ANOTHER_PROCESS = """
import hashlib, importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("download", sys.argv[1])  # alone: torch takes seconds
download = importlib.util.module_from_spec(spec)
spec.loader.exec_module(download)
print("ready", flush=True)
download.fetch([sys.argv[2]], Path(sys.argv[3]), check=lambda path: None, limit=600_000)
print(hashlib.sha256(Path(sys.argv[3]).read_bytes()).hexdigest())
"""


def test_two_processes_fetch_once(server, tmp_path):
    command = [sys.executable, "-c", ANOTHER_PROCESS, _download.__file__, f"{server.url}/slow", tmp_path / "file"]
    two = []
    for _ in range(2):
        two.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert two[-1].stdout.readline() == "ready\n"
        assert server.begun.wait(600)  # the first is in the middle of it when the second starts
    time.sleep(0.5)  # for the second to ask, if it would
    server.go_on.set()
    assert [process.communicate(timeout=600)[0].strip() for process in two] == [WANTED] * 2
    assert server.asked == ["slow"]
    assert there(tmp_path) == ["file"]


# IDX


def idx(array, *, packed=True):
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    return gzip.compress(header + array.tobytes(), mtime=0) if packed else header + array.tobytes()


def sha256(array):
    return hashlib.sha256(idx(array, packed=False)).hexdigest()


ARRAY = np.arange(24, dtype=np.uint8).reshape(4, 3, 2)


@pytest.mark.parametrize("packed", [True, False])
def test_idx_is_read_packed_or_not(tmp_path, packed):
    (tmp_path / "a").write_bytes(idx(ARRAY, packed=packed))
    read = read_idx(tmp_path / "a", (4, 3, 2), sha256(ARRAY))
    assert read.dtype == np.uint8
    assert np.array_equal(read, ARRAY)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"expected an IDX file of shape \(4, 3, 2\), got b'' at its beginning"),
        (b"<html>", "got b'<htm' at its beginning"),
        (idx(ARRAY)[:20], "expected a whole gzip file, got a damaged one"),
        (idx(ARRAY)[:-4], "expected a whole gzip file, got a damaged one"),
        (idx(ARRAY)[:-8] + bytes(8), "expected a whole gzip file, got a damaged one"),
        (idx(ARRAY)[:10] + b"\xff" * 40, "expected a whole gzip file, got a damaged one"),
        (idx(ARRAY.reshape(2, 6, 2)), r"expected an IDX file of shape \(4, 3, 2\), got shape \(2, 6, 2\)"),
        (idx(ARRAY.reshape(24)), r"got shape \(24,\)"),
        (b"\0\0\x08\x03" + b"\xff" * 12, r"got shape \(4294967295, 4294967295, 4294967295\)"),
        (b"\0\0\x0d\x03" + idx(ARRAY, packed=False)[4:], r"got b'\\x00\\x00\\r\\x03' at its beginning"),
        (idx(ARRAY, packed=False)[:-1], "expected 24 bytes after the header, got 23"),
        (idx(ARRAY, packed=False) + b"?", "expected 24 bytes after the header, got more"),
        (idx(ARRAY + 1), "expected unpacked contents with sha256"),
    ],
)
def test_idx_that_is_not_the_one_is_refused(tmp_path, content, message):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_idx(tmp_path / "a", (4, 3, 2), sha256(ARRAY))
    assert str(tmp_path / "a") in str(error.value)
    assert "get it again" in str(error.value)


def test_a_packed_file_that_unpacks_without_end_is_not_unpacked(tmp_path):
    bomb = idx(ARRAY, packed=False) + bytes(200_000_000)
    (tmp_path / "a").write_bytes(gzip.compress(bomb, compresslevel=1))
    del bomb
    import tracemalloc

    tracemalloc.start()
    with pytest.raises(ValueError, match="got more"):
        read_idx(tmp_path / "a", (4, 3, 2), sha256(ARRAY))
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


# Where sets are


IMAGES, LABELS = ARRAY.reshape(6, 2, 2), np.arange(6, dtype=np.uint8)


@pytest.fixture
def source(server, tmp_path, monkeypatch):
    """A small set that the server has, a cache and an installed folder that are empty."""
    monkeypatch.setenv("TYINGLIB_DATA", str(tmp_path / "cache"))
    arrays = {"images": IMAGES, "labels": LABELS}
    server.files |= {f"{name}.gz": idx(array) for name, array in arrays.items()}
    files = tuple(File(name, array.shape, sha256(array)) for name, array in arrays.items())
    return Source("Small", "small", files, (f"{server.url}/", server.url), tmp_path / "installed", "dataset-small")


def fill(folder, **kind):
    folder.mkdir(parents=True)
    for name, array in (("images", IMAGES), ("labels", LABELS)):
        (folder / (f"{name}.gz" if kind.get("packed", True) else name)).write_bytes(idx(array, **kind))


def is_read(source, folder=None):
    images, labels = source.read(folder)
    return np.array_equal(images, IMAGES) and np.array_equal(labels, LABELS)


def test_a_set_is_fetched_once_and_then_read(source, server, tmp_path):
    source = replace(source, mirrors=source.mirrors[1:])
    assert is_read(source)
    assert there(tmp_path / "cache" / "small") == ["images.gz", "labels.gz"]
    assert server.asked == ["images.gz", "labels.gz"]
    assert is_read(source)
    assert len(server.asked) == 2
    for name in ("images.gz", "labels.gz"):
        (tmp_path / "cache" / "small" / name).unlink()
    (tmp_path / "cache" / "small" / "images").write_bytes(idx(IMAGES, packed=False))
    assert is_read(source)
    assert server.asked[2:] == ["labels.gz"]  # only what is missing


@pytest.mark.parametrize("packed", [True, False])
def test_what_is_on_the_machine_is_not_fetched(source, server, tmp_path, packed):
    fill(tmp_path / "mine", packed=packed)
    assert is_read(source, tmp_path / "mine")
    assert is_read(source, str(tmp_path / "mine"))
    fill(tmp_path / "installed", packed=packed)
    assert is_read(source)
    assert server.asked == []


def test_a_folder_that_was_named_is_the_only_one(source, server, tmp_path):
    fill(tmp_path / "installed")
    fill(tmp_path / "mine")
    (tmp_path / "mine" / "labels.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"mine lacks labels \(packed as \.gz or not\); put the files there"):
        source.read(tmp_path / "mine")
    assert server.asked == []


def test_a_damaged_file_is_named(source, tmp_path):
    fill(tmp_path / "mine")
    (tmp_path / "mine" / "images.gz").write_bytes(idx(IMAGES)[:30])
    with pytest.raises(ValueError, match=r"mine.images\.gz: expected a whole gzip file"):
        source.read(tmp_path / "mine")


def test_without_a_network_it_says_what_to_do(source, tmp_path):
    source = replace(source, mirrors=("http://127.0.0.1:9",))
    with pytest.raises(FileNotFoundError) as error:
        source.read(None)
    for piece in (
        "Small is not on this machine and could not be fetched",
        "http://127.0.0.1:9/images.gz: ",
        "refused",
        "  images.gz\n  labels.gz\n",
        f"from http://127.0.0.1:9/ to {tmp_path / 'cache' / 'small'}",
        "folder=.",
        "apt install dataset-small",
        "fashion_small()",
    ):
        assert piece in str(error.value)


def test_a_cache_that_cannot_be_written_is_said(source, tmp_path):
    (tmp_path / "cache").write_text("a file, not a folder", encoding="utf-8")
    with pytest.raises(FileNotFoundError, match="could not be fetched"):
        source.read(None)


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/tyinglib"),
        ("linux", {}, "/home/me/.cache/tyinglib"),
        ("darwin", {"XDG_CACHE_HOME": "/x"}, "/home/me/Library/Caches/tyinglib"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/tyinglib"),
        ("win32", {}, "/home/me/AppData/Local/tyinglib"),
        ("linux", {"TYINGLIB_DATA": "/mine", "XDG_CACHE_HOME": "/x"}, "/mine"),
        ("linux", {"TYINGLIB_DATA": "~/mine"}, "/home/me/mine"),
    ],
)
def test_where_the_cache_is(monkeypatch, platform, variables, expected):
    for name in ("TYINGLIB_DATA", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {**variables, "HOME": "/home/me", "USERPROFILE": "/home/me"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(_sources.sys, "platform", platform)
    assert _sources.cache_folder().as_posix() == expected
