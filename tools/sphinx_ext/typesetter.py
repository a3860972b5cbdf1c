"""Start the KaTeX server so that a busy machine neither fails the build nor leaves a server behind.

sphinxcontrib-katex connects as soon as the server's socket exists, which can be a moment before anyone listens to it;
the server it then gives up on lives on, and holds the build's error stream open: who reads that stream waits forever.
"""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path

from sphinx.errors import ExtensionError
from sphinxcontrib import katex

PATIENCE = 600.0  # seconds, to start and to typeset one formula; five are too few on a machine that pages


def start_server_process(
    server: type[katex.KaTeXServer], rundir: Path, timeout: float
) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """A server that listens, and a connection to it; or an error, and no server."""
    path = rundir / "katex.sock"
    # its error stream is its own: a server that outlives a killed build must not hold the build's
    process = subprocess.Popen(
        server.build_command(socket=path), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    end = time.monotonic() + timeout
    while process.poll() is None and time.monotonic() < end:
        try:
            connection.connect(str(path))
            return process, connection
        except (FileNotFoundError, ConnectionRefusedError):
            time.sleep(0.01)
    process.kill()
    said = process.communicate()[1].decode(errors="replace")
    connection.close()
    raise ExtensionError(f"the KaTeX server did not start within {timeout:g} s. It said: {said or 'nothing'}")


def setup_typesetter() -> None:
    katex.STARTUP_TIMEOUT = katex.RENDER_TIMEOUT = PATIENCE
    katex.KaTeXServer.start_server_process = classmethod(start_server_process)
