"""A headless browser, for tests of pages and videos; they import the fixtures that they use."""

import contextlib
import os
import shutil

import pytest

OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


@contextlib.contextmanager
def chromium(*args):
    """Chromium with command-line arguments: the system's, or else playwright's, which lacks H.264."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    system = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_api.sync_playwright() as playwright:
        try:
            # Chromium creates a socket in TMPDIR, and its path may have at most 100 characters.
            environment = os.environ | {"TMPDIR": "/tmp"}
            browser = playwright.chromium.launch(executable_path=system, env=environment, args=list(args))
        except sync_api.Error as error:
            if "Executable doesn't exist" not in str(error):
                raise
            pytest.skip("no Chromium: install the system's package, or run `python -m playwright install chromium`")
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def browser():
    """Chromium with its default settings."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def offline():
    """Chromium that can only reach this machine."""
    with chromium(OFFLINE) as browser:
        yield browser
