"""Serve the built pages on this machine only, on port 8000 or the next that is free, until interrupted."""

from __future__ import annotations

import functools
import http.server
import sys
from pathlib import Path

SITE = Path(__file__).resolve().parent.parent / "_build" / "html"


def main() -> int:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=SITE)
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
