"""A browser, and a page in it."""

import contextlib
import subprocess

import pytest
from browsing import PATIENCE, ROOT, SITE, served
from playwright.sync_api import expect, sync_playwright

expect.set_options(timeout=PATIENCE)

FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


@pytest.fixture(scope="session")
def address():
    with served(SITE) as address:
        yield address


@pytest.fixture(scope="session")
def browser():
    found = subprocess.run(["sh", ROOT / "tools/find_browser.sh"], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip("no Chromium here: install Debian's `chromium`, or set CHROMIUM to a browser's path")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found.stdout.strip(), args=FLAGS.split(), timeout=PATIENCE)
        yield browser
        browser.close()


@contextlib.contextmanager
def opener(browser, address):
    """What opens pages; at the end, no request may have left the machine and no error stand in the console."""
    faults, contexts = [], []

    def open_one(page, mode="light", width=1280, **options):
        context = browser.new_context(color_scheme=mode, viewport={"width": width, "height": 800}, **options)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        tab = context.new_page()
        local = (address, "data:", "blob:")
        tab.on("request", lambda r: None if r.url.startswith(local) else faults.append(f"request to {r.url}"))
        tab.on("console", lambda m: faults.append(f"console: {m.text}") if m.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: faults.append(f"script error: {error}"))
        tab.on("response", lambda r: faults.append(f"{r.status} {r.url}") if r.status >= 400 else None)
        tab.goto(address + page)
        tab.wait_for_load_state("networkidle")
        return tab

    yield open_one
    for context in contexts:
        context.close()
    assert not faults, faults


@pytest.fixture
def open_page(browser, address):
    with opener(browser, address) as open_one:
        yield open_one


@pytest.fixture(scope="module")
def keep_open(browser, address):
    """As `open_page`; what it opens stays open for the other tests of the file."""
    with opener(browser, address) as open_one:
        yield open_one
