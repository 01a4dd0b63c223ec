"""The web demo's camera mode, with Chromium's fake camera, which shows a photo."""

import contextlib
import re

import cv2
import numpy as np
import pytest

from mamkpd_jax import Predictor
from mamkpd_jax.inference.results import PoseResult
from mamkpd_jax.inference.tracking import Tracker
from mamkpd_jax.skeletons import COCO
from tests.browser import OFFLINE, chromium
from tests.demo.pages import NO_ADAPTER, choose, expect_found, runs, sync_api, watched
from tests.demo.web_demo import copy, log_runs, serve, web_demo

__all__ = ["web_demo"]

FAKE_CAMERA = "--use-fake-device-for-media-stream"


@pytest.fixture(scope="module")
def film(shared_data, tmp_path_factory):
    """A function that makes an MJPEG film of a photo, which is a sequence of JPEG files."""

    def make(name):
        path = tmp_path_factory.mktemp("film") / "film.mjpeg"
        image = cv2.imread(str(shared_data / name))
        even = image[: image.shape[0] // 2 * 2]  # Chromium refuses odd heights
        path.write_bytes(cv2.imencode(".jpg", even)[1].tobytes() * 2)
        return path

    return make


@contextlib.contextmanager
def _page(url, film):
    shown = f"--use-file-for-fake-video-capture={film}"
    with chromium(OFFLINE, FAKE_CAMERA, "--use-fake-ui-for-media-stream", shown) as browser:
        with watched(browser, url, expected=NO_ADAPTER) as page:
            yield page


@pytest.fixture
def page(web_demo, film):
    with _page(web_demo.url, film("coco_mini/000000196141.jpg")) as page:
        yield page


def test_joints_follow_the_camera_until_it_stops(page):
    page.get_by_role("button", name="Start the camera").press("Enter")
    sync_api.expect(page.get_by_role("status")).to_have_text("The camera is on.")
    speed = (
        r"[\d.]+ frames a second · detector [\d.]+ ms · keypoints [\d.]+ ms per person or animal · "
        "WebAssembly, 1 thread"
    )
    sync_api.expect(page.locator("#speed")).to_have_text(re.compile(speed))
    sync_api.expect(page.locator("#overlay circle").nth(30)).to_be_attached()
    video, overlay = page.get_by_label("The camera's picture").bounding_box(), page.locator("#overlay").bounding_box()
    assert video == overlay and page.locator("#result").is_hidden()
    page.get_by_role("button", name="Stop the camera").click()
    sync_api.expect(page.get_by_role("status")).to_have_text("The camera is off.")
    assert page.evaluate("document.getElementById('video').srcObject") is None
    assert page.locator("#stage").is_hidden()


def test_the_camera_detects_in_every_fifth_frame(web_demo, film, tmp_path):
    folder, shown = copy(web_demo, tmp_path), film("coco/val2017/000000153797.jpg")
    log_runs(folder)
    with serve(folder) as url, _page(url, shown) as page:
        page.get_by_role("button", name="Start the camera").click()
        frames = ["1x3x416x416", *["1x128x128x3"] * 5] * 2
        for _ in range(300):
            shapes = runs(page)[2:]  # after those of the warm-up
            if len(shapes) > len(frames):
                break
            page.wait_for_timeout(100)
        assert shapes[: len(frames)] == frames
        sync_api.expect(page.locator("#speed")).to_contain_text(re.compile(r"detector [\d.]+ ms · keypoints"))
        circles = page.locator("#overlay circle").evaluate_all(
            "all => all.map((c) => [c.cx, c.cy].map((n) => n.baseVal.value))"
        )
    (expected,) = Predictor.from_pretrained("people")(cv2.imread(str(shown))[..., ::-1].copy(), "nanodet")
    joints = expected.keypoints[expected.scores > 0.5]
    distances_px = np.linalg.norm(joints[:, None] - np.array(circles), axis=-1).min(axis=1)
    assert np.median(distances_px) < 3  # in each frame: the photo stands still, so the boxes that follow do too


def test_boxes_follow_poses_as_in_the_tracker(page):
    """The poses: a usual one, one with two sure joints, one that gets unsure, and one that leaves the picture."""
    rng = np.random.default_rng(0)
    starts = np.array([[20.0 + 150 * i, 50, 100, 200] for i in range(4)])
    joints = starts[:, None, :2] + rng.uniform(0, 100, (4, 17, 2))
    scores = np.where(rng.uniform(size=(4, 17)) < 0.3, 0.2, 0.9)
    scores[1] = [0.9, 0.9, *[0] * 15]
    tracker, followed = Tracker(), [{"start": None, "box": box} for box in starts.tolist()]
    for number in range(3):
        n, boxes = len(followed), np.array([pose["box"] for pose in followed], np.float64)
        more = {"box_scores": np.ones(n), "areas_px": np.full(n, 2e4), "image_hw": (480, 640), "skeleton": COCO}
        result = PoseResult(keypoints=joints, scores=scores, boxes=boxes, **more, image="", upright=True)
        (tracker.follow if number else tracker.update)(result)
        keypoints = np.concatenate([joints, scores[..., None]], axis=-1).tolist()
        poses = [{"keypoints": k, "box": pose["box"]} for k, pose in zip(keypoints, followed, strict=True)]
        followed = page.evaluate(
            """async (poses) => (await import("./following.js")).follow(
                poses, { keypoint_threshold: 0.2 }, { width: 640, height: 480 })""",
            [pose | {"start": old["start"] or pose} for pose, old in zip(poses, followed, strict=True)],
        )
        inside = tracker.boxes().xywh[: len(followed)]
        np.testing.assert_allclose([pose["box"] for pose in followed], inside)
        left = [4, 2, 2][number]
        assert len(followed) == left
        scores, joints = scores[:left].copy(), joints[:left] + rng.normal(0, 5, (left, 17, 2)) + [80, -8]
        if number == 0:
            scores[2], joints[3] = 0, joints[3] + 500


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


def test_a_refusal_leaves_a_newer_picture(web_demo, shared_data):
    """The picture is dropped before the browser has refused the camera."""
    content = list((shared_data / "coco_mini" / "000000000785.jpg").read_bytes())
    with chromium(OFFLINE, FAKE_CAMERA) as browser, watched(browser, web_demo.url, expected=NO_ADAPTER) as page:
        page.get_by_role("button", name="Start the camera").wait_for()
        page.evaluate(
            """content => {
                document.getElementById("camera").click();
                const dataTransfer = new DataTransfer();
                dataTransfer.items.add(new File([new Uint8Array(content)], "picture.jpg"));
                document.dispatchEvent(new DragEvent("drop", { dataTransfer }));
            }""",
            content,
        )
        expect_found(page, 1)
