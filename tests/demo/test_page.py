"""The demo's page in a real, headless browser."""

import cv2
import numpy as np
import pytest

from tests.browser import browser
from tests.demo.pages import choose, choose_by_keyboard, drop, expect_found, expect_readable, sync_api, tab_to, watched

__all__ = ["browser"]


@pytest.fixture
def page(browser, server):
    with watched(browser, server.url) as page:
        yield page


def test_a_tiff_is_shown(page, picture, tmp_path):
    cv2.imwrite(str(tmp_path / "scan.tiff"), cv2.imread(str(picture)))
    choose(page, tmp_path / "scan.tiff")
    expect_found(page, 1)
    assert page.evaluate("document.getElementById('picture').decode().then(() => true)")
    assert page.evaluate("document.getElementById('picture').naturalWidth") == 640


def test_a_chosen_picture_shows_joints_scores_and_heatmaps(page, picture):
    choose(page, picture)
    expect_found(page, 1)
    rows = [row.inner_text().split("\t") for row in page.locator("#joints tr").all()]
    assert [row[0] for row in rows[:3]] == ["nose", "left eye", "right eye"] and len(rows) == 17
    found = sum(float(row[3]) > 0.2 for row in rows)
    assert page.locator("#overlay circle").count() == found > 0
    assert page.evaluate("document.getElementById('picture').naturalWidth") == 640
    heatmap = page.get_by_role("img", name="Heatmap of all keypoints in box 1")
    assert heatmap.evaluate("image => image.complete && image.naturalHeight") == 320
    before = heatmap.get_attribute("src")
    page.get_by_label("Heatmap of", exact=True).select_option("left wrist")
    assert page.get_by_role("img", name="Heatmap of left wrist in box 1").get_attribute("src") != before


def test_an_early_picture_waits_for_the_model(page, picture):
    held = []
    page.route("**/model", lambda route: held.append(route))
    with page.expect_request("**/model"):
        page.reload()
    choose(page, picture)
    page.wait_for_function("document.getElementById('file').files.length")
    [route] = held
    route.continue_()
    expect_found(page, 1)


def test_drawn_joints_match_the_table(page, picture):
    choose(page, picture)
    expect_found(page, 1)
    rows = [[float(n) for n in row.inner_text().split("\t")[1:]] for row in page.locator("#joints tr").all()]
    area = page.locator("#picture").bounding_box()
    circles = [circle.bounding_box() for circle in page.locator("#overlay circle").all()]
    seen = np.array([circle[:2] for circle in rows if circle[2] > 0.2])
    middles = np.array([[c["x"] + c["width"] / 2 - area["x"], c["y"] + c["height"] / 2 - area["y"]] for c in circles])
    np.testing.assert_allclose(middles * 640 / area["width"], seen, atol=1.0)


def test_boxes_are_drawn_by_dragging(page, picture):
    choose(page, picture)
    expect_found(page, 1)
    page.locator("#overlay").scroll_into_view_if_needed()
    area = page.locator("#overlay").bounding_box()
    scale = area["width"] / 640
    for i, (x, y, width, height) in enumerate(((280, 44, 218, 346), (10, 20, 100, 120)), start=1):
        page.mouse.move(area["x"] + x * scale, area["y"] + y * scale)
        page.mouse.down()
        page.mouse.move(area["x"] + (x + width) * scale, area["y"] + (y + height) * scale, steps=3)
        page.mouse.up()
        values = [
            float(n.input_value()) for n in page.get_by_role("group", name=f"Box {i}").get_by_role("spinbutton").all()
        ]
        np.testing.assert_allclose(values, (x, y, width, height), atol=1.5)
    expect_found(page, 2)
    page.get_by_label("Box", exact=True).select_option("2")
    page.get_by_role("button", name="Remove box 1").click()
    page.get_by_role("button", name="Find keypoints").click()
    expect_found(page, 1)


def test_a_new_picture_ends_a_drag(page, picture):
    choose(page, picture)
    expect_found(page, 1)
    page.locator("#overlay").hover()
    page.mouse.down()
    choose(page, picture)
    page.mouse.up()
    expect_found(page, 1)
    page.locator("#overlay").hover(position={"x": 30, "y": 30})
    assert page.locator("#overlay rect.under").count() == 1


def test_the_page_works_by_keyboard(page, picture):
    choose_by_keyboard(page, picture)
    expect_found(page, 1)
    tab_to(page, "Add a box")
    page.keyboard.press("Enter")
    for value in ("280", "44", "218", "346"):
        page.keyboard.press("Control+A")
        page.keyboard.type(value)
        page.keyboard.press("Tab")
    with page.expect_request(lambda request: "/poses" in request.url) as sent:
        tab_to(page, "Find keypoints")
        page.keyboard.press("Enter")
    assert sent.value.url.endswith("&boxes=%5B%5B280%2C44%2C218%2C346%5D%5D")
    expect_found(page, 1)


def test_a_dropped_picture_is_predicted(page, picture):
    drop(page, picture)
    expect_found(page, 1)


def test_bad_files_are_reported_and_the_next_works(page, bad_files, picture, tmp_path):
    status = page.get_by_role("status")
    choose(page, bad_files["text"])
    sync_api.expect(status).to_have_text(
        "The file is 360 bytes that are not an image. Choose a JPEG, PNG or WebP picture."
    )
    choose(page, bad_files["huge"])
    sync_api.expect(status).to_contain_text("more than 64 million pixels; make it smaller")
    (tmp_path / "long.jpg").write_bytes(picture.read_bytes() + bytes(20 * 2**20))
    choose(page, tmp_path / "long.jpg")
    sync_api.expect(status).to_have_text("The file is larger than 20 MiB. Choose a smaller one.")
    assert page.locator("#stage").is_hidden() and page.locator("#result").is_hidden()
    choose(page, picture)
    expect_found(page, 1)
    assert page.locator("#stage").is_visible() and page.locator("#result").is_visible()


def test_controls_have_names_and_texts_have_contrast(page, picture):
    choose(page, picture)
    expect_found(page, 1)
    expect_readable(page, ("h1", "header p", "caption", "#message", "#find", "td", "tr.unseen td", "legend"))
