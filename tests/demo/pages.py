"""The steps of tests on the demo's page, with either backend."""

import contextlib
import re

import numpy as np
import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

WAIT_MS = 120_000  # a software GPU takes half a minute for a picture on an idle machine
NO_ADAPTER = "No available adapters"  # Chromium's message without a GPU, when a page asks for WebGPU
sync_api.expect.set_options(timeout=WAIT_MS)


@contextlib.contextmanager
def watched(browser, url, *, expected=r"status of 4", script="", **options):
    """A newly opened page. Errors and warnings in the browser, and requests to other hosts, fail the test.

    Args:
        expected: a pattern of messages that are allowed, such as the browser's about refused requests.
        script: runs in the page before the page's scripts.
        options: those of playwright's new_page.
    """
    page = browser.new_page(**{"viewport": {"width": 1200, "height": 900}} | options)
    page.set_default_timeout(WAIT_MS)
    complaints, foreign = [], []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
    )
    own = (url, "data:", f"blob:{url}")
    page.on("request", lambda request: foreign.append(request.url) if not request.url.startswith(own) else None)
    # Playwright starts to intercept file dialogs at the first such listener, and does not wait until it does.
    page.on("filechooser", lambda _: None)
    page.add_init_script(script)
    page.goto(url)
    yield page
    page.close()
    assert [text for text in complaints if not re.search(expected, text)] == []
    assert foreign == []


def runs(page):
    """The input shape of each model run so far, in a demo that `log_runs` has changed."""
    return [m.text.removeprefix("ran ") for m in page.console_messages() if m.text.startswith("ran ")]


def choose(page, path):
    page.get_by_label("Choose a picture").set_input_files(path)


def choose_by_keyboard(page, path):
    """Opens the file dialog of a new page without a mouse."""
    page.keyboard.press("Tab")
    sync_api.expect(page.get_by_label("Choose a picture")).to_be_focused()
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(path)


def drop(page, path):
    """Drops a file or folder on the page, as the operating system does."""
    data = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    session = page.context.new_cdp_session(page)
    page.evaluate("() => new Promise(requestAnimationFrame)")  # a drop needs a drawn page to find its target
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 300, "data": data})


def expect_found(page, boxes):
    """Waits for the poses in this number of boxes, whatever their joints' scores."""
    where = f"{boxes} {'box' if boxes == 1 else 'boxes'}"
    found = rf"Found keypoints in (\d+ of )?{where}\.|No keypoint in {where} has a score above 0\.2\."
    sync_api.expect(page.get_by_role("status")).to_have_text(re.compile(found))


def tab_to(page, name):
    """Presses Tab until a control with this name has the focus."""
    for _ in range(60):
        if page.evaluate("(document.activeElement.labels?.[0] ?? document.activeElement).textContent").startswith(name):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"Tab does not lead to {name!r}")


def expect_readable(page, selectors):
    """Checks that every control has a name, and each text a contrast of at least 4.5 in light and dark mode."""
    for role in ("button", "spinbutton", "combobox"):
        for control in page.get_by_role(role).all():
            assert page.evaluate(
                "e => e.ariaLabel || e.labels[0]?.textContent || e.textContent", control.element_handle()
            )
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for selector in selectors:
            if page.locator(selector).count():
                assert _contrast(page.locator(selector).first) >= 4.5, f"{selector}, {scheme}"


def _contrast(element):
    """The contrast ratio of WCAG 2.1 between a text and its background."""
    colours = element.evaluate(
        """element => {
            const colours = [getComputedStyle(element).color];
            while (getComputedStyle(element).backgroundColor === "rgba(0, 0, 0, 0)") element = element.parentElement;
            return [...colours, getComputedStyle(element).backgroundColor];
        }"""
    )
    rgb = np.array([[int(n) for n in colour[colour.index("(") + 1 : -1].split(",")[:3]] for colour in colours]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    low, high = sorted(linear @ [0.2126, 0.7152, 0.0722])
    return (high + 0.05) / (low + 0.05)
