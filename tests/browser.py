"""A real browser without a window, for tests of pages and videos; imported where it is used."""

import contextlib
import os
import shutil

import pytest

OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


@contextlib.contextmanager
def chromium(*args):
    """Chromium with command-line arguments: the system's where there is one, else playwright's own, without H.264."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    system = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_api.sync_playwright() as playwright:
        try:
            # Chromium makes a socket below TMPDIR, whose path may have at most 100 characters.
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
    """Chromium as a person has it."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def offline():
    """Chromium that finds no machine but this one."""
    with chromium(OFFLINE) as browser:
        yield browser
