"""The web demo's camera: Chromium's fake one, which shows a photo of five people."""

import re

import cv2
import pytest

from tests.browser import OFFLINE, chromium
from tests.demo.pages import NO_ADAPTER, choose, expect_found, sync_api, watched
from tests.demo.web_demo import web_demo

__all__ = ["web_demo"]

FAKE_CAMERA = "--use-fake-device-for-media-stream"


@pytest.fixture(scope="module")
def film(shared_data, tmp_path_factory):
    """A film in MJPEG: one picture after the other."""
    path = tmp_path_factory.mktemp("film") / "people.mjpeg"
    image = cv2.imread(str(shared_data / "coco_mini" / "000000196141.jpg"))
    path.write_bytes(cv2.imencode(".jpg", image[:428])[1].tobytes() * 2)  # Chromium takes even sizes only
    return path


@pytest.fixture
def page(web_demo, film):
    with chromium(
        OFFLINE, FAKE_CAMERA, "--use-fake-ui-for-media-stream", f"--use-file-for-fake-video-capture={film}"
    ) as b:
        with watched(b, web_demo.url, expected=NO_ADAPTER) as page:
            yield page


def test_joints_follow_the_camera_until_it_stops(page):
    page.get_by_role("button", name="Start the camera").press("Enter")
    sync_api.expect(page.get_by_role("status")).to_have_text("The camera is on.")
    speed = (
        r"[\d.]+ frames a second · detector [\d.]+ ms · joints [\d.]+ ms per person or animal · WebAssembly, 1 thread"
    )
    sync_api.expect(page.locator("#speed")).to_have_text(re.compile(speed))
    assert page.locator("#overlay circle").count() > 30
    video, overlay = page.get_by_label("The camera's picture").bounding_box(), page.locator("#overlay").bounding_box()
    assert video == overlay and page.locator("#result").is_hidden()
    page.get_by_role("button", name="Stop the camera").click()
    sync_api.expect(page.get_by_role("status")).to_have_text("The camera is off.")
    assert page.evaluate("document.getElementById('video').srcObject") is None
    assert page.locator("#stage").is_hidden()


def test_the_model_can_change_while_the_camera_runs(page):
    page.get_by_role("button", name="Start the camera").click()
    sync_api.expect(page.locator("#overlay circle").first).to_be_attached()
    page.get_by_label("Model").select_option("animals")
    sync_api.expect(page.locator("#overlay circle")).to_have_count(0)
    sync_api.expect(page.locator("#speed")).to_contain_text("frames a second")


def test_a_picture_takes_the_cameras_place(page, shared_data):
    page.get_by_role("button", name="Start the camera").click()
    sync_api.expect(page.locator("#overlay circle").first).to_be_attached()
    choose(page, shared_data / "coco_mini" / "000000000785.jpg")
    expect_found(page, 1)
    assert page.get_by_role("button", name="Start the camera").is_visible() and page.locator("#video").is_hidden()


def test_a_refused_camera_is_reported(web_demo):
    with chromium(OFFLINE, FAKE_CAMERA) as browser, watched(browser, web_demo.url, expected=NO_ADAPTER) as page:
        page.get_by_role("button", name="Start the camera").click()
        sync_api.expect(page.get_by_role("status")).to_have_text(
            "The camera was refused. Allow it for this page in the browser's settings, or choose a picture."
        )


def test_a_missing_camera_is_reported(web_demo):
    asking = {"expected": NO_ADAPTER, "permissions": ["camera"]}
    with chromium(OFFLINE) as browser, watched(browser, web_demo.url, **asking) as page:
        page.get_by_role("button", name="Start the camera").click()
        sync_api.expect(page.get_by_role("status")).to_have_text(
            "There is no camera. Connect one, or choose a picture."
        )
        assert page.get_by_role("button", name="Start the camera").is_visible()
