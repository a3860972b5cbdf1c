"""Serve the built pages on this machine only, on port 8000 or the next that is free, until interrupted."""

from __future__ import annotations

import functools
import http.server
import sys
from pathlib import Path

SITE = Path(__file__).resolve().parent.parent / "_build" / "html"


class Pages(http.server.SimpleHTTPRequestHandler):
    """As a host of pages does, it answers with 404.html where there is no page."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Send the book's page for 404, and what is usual for all else."""
        if code != 404 or not (SITE / "404.html").exists():
            super().send_error(code, message, explain)
            return
        content = (SITE / "404.html").read_bytes()
        self.send_response(404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def main() -> int:
    handler = functools.partial(Pages, directory=SITE)
    for port in range(8000, 8100):
        try:
            server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
            break
        except OSError:  # taken: try the next
            continue
    else:
        print("no port from 8000 to 8099 is free")
        return 1
    print(f"==> the book is at http://127.0.0.1:{port}/  (stop with Ctrl-C)", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
