"""Launch buttons, where there is something to launch: a repository's address in REPOSITORY or in _config.yml.

Without an address there is no button, no link to a repository, and nothing to mend in a fork.
"""

from __future__ import annotations

import os
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

SERVICES = {"binderhub_url": "https://mybinder.org", "notebook_interface": "jupyterlab"}
COLAB = {"colab_url": "https://colab.research.google.com"}  # opens notebooks on GitHub only


def configure(app: Sphinx, config: Any) -> None:
    options = config.html_theme_options
    address = (os.environ.get("REPOSITORY") or options.get("repository_url") or "").strip().rstrip("/")
    if address and not address.startswith("https://"):
        raise ExtensionError(f"REPOSITORY must be an address like https://github.com/OWNER/NAME; got {address!r}")
    options["repository_url"] = address
    options["use_repository_button"] = bool(address)
    options["launch_buttons"] = (SERVICES | (COLAB if "://github.com/" in address else {})) if address else {}


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("config-inited", configure, priority=100)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
