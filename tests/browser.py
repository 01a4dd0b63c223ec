"""A real browser without a window, for tests of pages and videos; imported where it is used."""

import os
import shutil

import pytest


@pytest.fixture(scope="module")
def browser():
    """Chromium: the system's where there is one, else playwright's own, which has no H.264."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    system = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_api.sync_playwright() as playwright:
        try:
            # Chromium makes a socket below TMPDIR, whose path may have at most 100 characters.
            browser = playwright.chromium.launch(executable_path=system, env=os.environ | {"TMPDIR": "/tmp"})
        except sync_api.Error as error:
            if "Executable doesn't exist" not in str(error):
                raise
            pytest.skip("no Chromium: install the system's package, or run `python -m playwright install chromium`")
        yield browser
        browser.close()
