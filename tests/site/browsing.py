"""What the tests of pages share: where the pages are, and a server on this machine."""

import contextlib
import functools
import http.server
import threading
from pathlib import Path

ROOT = Path(__file__).parents[2]
SITE = ROOT / "_build" / "html"
PAGES = sorted(path.relative_to(SITE).as_posix() for path in (SITE / "book").glob("*.html"))
# Milliseconds. Tests wait for what must come, however slow the machine: this ends those for which it never comes.
PATIENCE = 600_000
OTHERS = [page for page in ("404.html", "search.html") if (SITE / page).exists()]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served(folder):
    """The address at which a folder is served."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
