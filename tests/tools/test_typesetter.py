"""The typesetting server: one that is slow to listen is waited for, and none is left behind."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from sphinx.errors import ExtensionError
from typesetter import start_server_process

BEGIN = "import os, socket, sys, time; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); "
SLOW = BEGIN + "time.sleep(0.5); s.listen(); s.accept()[0].sendall(b'ready')"
STAYS = BEGIN + "s.listen(); s.accept(); time.sleep(600)"
NEVER = BEGIN + "time.sleep(600)"
DIES = "raise SystemExit('no such module')"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there it listens to a port")


def server(program):
    class Server:
        @staticmethod
        def build_command(socket):
            return [sys.executable, "-c", program, str(socket)]

    return Server


@pytest.fixture
def short_path():
    """A socket's path has 104 characters at most on macOS, and tmp_path takes most of them there."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def test_a_socket_that_nobody_listens_to_yet_is_asked_again(short_path):
    process, connection = start_server_process(server(SLOW), short_path, timeout=600)
    with connection, process:
        assert connection.recv(5) == b"ready"
        assert process.wait(600) == 0


def test_a_server_that_never_listens_is_stopped(short_path, monkeypatch):
    started = []

    class Noted(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    with pytest.raises(ExtensionError, match="did not start within 1 s"):
        start_server_process(server(NEVER), short_path, timeout=1)
    assert [process.poll() for process in started] == [-9]


def test_what_a_dying_server_said_is_told(short_path):
    with pytest.raises(ExtensionError, match="no such module"):
        start_server_process(server(DIES), short_path, timeout=600)


KILLED_BUILD = """
import os, pathlib, sys
from test_typesetter import STAYS, server, start_server_process
process, _ = start_server_process(server(STAYS), pathlib.Path(sys.argv[1]), timeout=600)
print(process.pid, flush=True)
os._exit(3)
"""


def test_who_reads_the_output_of_a_killed_build_does_not_wait_for_its_server(short_path):
    command = [sys.executable, "-c", KILLED_BUILD, str(short_path)]
    here = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    # half as long as the server lives
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=here, check=False)
    assert done.returncode == 3, done.stderr
    os.kill(int(done.stdout), signal.SIGKILL)  # it is alive, so it could have held the output open
