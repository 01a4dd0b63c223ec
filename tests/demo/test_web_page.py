"""The web demo's page in a real browser that is offline: it finds the poses itself."""

import functools
import re

import cv2
import numpy as np
import pytest

from mamkpd_jax import Predictor
from mamkpd_jax.data.transforms import BOX_PADDING, TopDownCrop
from mamkpd_jax.skeletons import COCO
from tests.browser import offline
from tests.demo.pages import (
    NO_ADAPTER,
    choose,
    choose_by_keyboard,
    expect_found,
    expect_readable,
    sync_api,
    tab_to,
    watched,
)
from tests.demo.web_demo import copy, serve, web_demo

__all__ = ["offline", "web_demo"]

PEOPLE = ("coco_mini/000000040083.jpg", "coco_mini/000000196141.jpg", "coco_mini/000000197388.jpg")
NOTHING = "Nothing was found in the picture. Choose another model, draw a box, or type it."
ANIMALS = ("ap10k/images/000000000004.jpg", "ap10k/images/000000037516.jpg")


@pytest.fixture
def page(offline, web_demo):
    with watched(offline, web_demo.url, expected=NO_ADAPTER) as page:
        yield page


@pytest.fixture(scope="module")
def predictor():
    """A function that returns the Predictor of a named model, created once."""
    return functools.cache(Predictor.from_pretrained)


def _status(page):
    return page.get_by_role("status")


def _poses(page):
    """The boxes [n, 4] and joints [n, j, 3] that the page shows, rounded to a tenth of a pixel."""
    boxes, joints = [], []
    for i in range(page.locator("#pose option").count()):
        page.get_by_label("Box", exact=True).select_option(index=i)
        row = page.get_by_role("group", name=f"Box {i + 1}").get_by_role("spinbutton")
        boxes.append([float(number.input_value()) for number in row.all()])
        joints.append(
            [[float(n) for n in row.inner_text().split("\t")[1:]] for row in page.locator("#joints tr").all()]
        )
    return np.array(boxes), np.array(joints)


def _expect_predictors_poses(page, predictor, path):
    (expected,) = predictor(path, "nanodet")
    expect_found(page, len(expected.boxes))
    boxes, joints = _poses(page)
    np.testing.assert_allclose(boxes, expected.boxes, atol=0.5)
    np.testing.assert_allclose(joints[..., :2], expected.keypoints, atol=0.5)
    np.testing.assert_allclose(joints[..., 2], expected.scores, atol=0.01)


@pytest.mark.parametrize(
    ("model", "name"), [*(("people", name) for name in PEOPLE), *(("animals", name) for name in ANIMALS)]
)
def test_poses_equal_those_of_the_predictor(page, predictor, shared_data, model, name):
    page.get_by_label("Model").select_option(model)
    choose(page, shared_data / name)
    _expect_predictors_poses(page, predictor(model), shared_data / name)


@pytest.mark.parametrize("shrinkage", [0.7, 1.4, 1.7, 2.5, 3.2, 4.1, 7.5, 12.5])
def test_crops_equal_the_predictors(page, shrinkage):
    image, shape = np.random.default_rng(0).integers(0, 256, (240, 320, 4), np.uint8), (64, 48)
    side = 64 * shrinkage / BOX_PADDING
    box, model = [40.5, -20.25, side / 2, side], {"input_hw": shape, "box_padding": BOX_PADDING, "udp": False}
    crop = page.evaluate(
        """async ([pixels, box, model]) => {
            const { cutCrop, placeCrop } = await import("./crops.js");
            const [rows, columns] = model.input_hw;
            const target = new Uint8Array(rows * columns * 3);
            const picture = { data: new Uint8ClampedArray(pixels), width: 320, height: 240 };
            cutCrop(picture, placeCrop(box, model), model.input_hw, target);
            return [...target];
        }""",
        [image.ravel().tolist(), box, model],
    )
    images, _ = TopDownCrop(input_hw=shape, skeleton=COCO).of_boxes(image[..., :3].copy(), np.array([box]))
    np.testing.assert_array_equal(np.reshape(crop, images[0].shape), images[0])


def test_rotated_gray_pictures_are_read_upright(page, predictor, picture, tmp_path):
    # EXIF data with one entry, big-endian: orientation 6, a rotation by 90 degrees.
    turn = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    image = cv2.rotate(cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE), cv2.ROTATE_90_COUNTERCLOCKWISE)
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    (tmp_path / "turned.jpg").write_bytes(jpeg[:2] + b"\xff\xe1" + (len(turn) + 2).to_bytes(2, "big") + turn + jpeg[2:])
    choose(page, tmp_path / "turned.jpg")
    _expect_predictors_poses(page, predictor("people"), tmp_path / "turned.jpg")


def test_poses_in_given_boxes_equal_the_predictors(page, predictor, picture):
    choose(page, picture)
    page.get_by_role("button", name="Add a box").click()
    box = [250, -12.5, 420.5, 300]  # partly outside
    for number, value in zip(page.get_by_role("spinbutton").all(), box, strict=True):
        number.fill(str(value))
    page.get_by_role("button", name="Find keypoints").click()
    expect_found(page, 1)
    (expected,) = predictor("people")(picture, np.array([box]))
    np.testing.assert_allclose(_poses(page)[1][..., :2], expected.keypoints, atol=0.5)
    page.get_by_role("spinbutton", name="x").fill("640")
    page.get_by_role("button", name="Find keypoints").click()
    sync_api.expect(_status(page)).to_have_text(
        "Box 1 lies outside the picture of 640x425 pixels. Move it, or remove it."
    )


def test_another_model_predicts_the_picture_again(page, shared_data):
    choose(page, shared_data / ANIMALS[0])
    sync_api.expect(_status(page)).to_have_text(NOTHING)
    page.get_by_label("Model").select_option("animals")
    expect_found(page, 1)
    assert page.locator("#joints tr").count() == 20


def test_the_times_of_detector_and_pose_are_shown(page, picture):
    choose(page, picture)
    expect_found(page, 1)
    speed = r"detector [\d.]+ ms · keypoints [\d.]+ ms per person or animal · WebAssembly, 1 thread"
    assert re.fullmatch(speed, page.locator("#speed").inner_text())


def test_boxes_without_joints_are_counted_separately(page, predictor, shared_data):
    picture = shared_data / "coco" / "val2017" / "000000349860.jpg"
    (expected,) = predictor("people")(picture, "nanodet")
    has_joints = (expected.scores > 0.2).any(axis=1)
    assert sorted(has_joints) == [False, True]
    choose(page, picture)
    sync_api.expect(_status(page)).to_have_text("Found keypoints in 1 of 2 boxes.")
    page.get_by_role("button", name=f"Remove box {has_joints.argmax() + 1}").click()
    page.get_by_role("button", name="Find keypoints").click()
    sync_api.expect(_status(page)).to_have_text("No keypoint in 1 box has a score above 0.2.")


def test_a_choice_of_one_is_not_offered(page):
    sync_api.expect(page.get_by_label("Model")).to_be_visible()
    assert page.get_by_label("Run by").is_hidden()


def test_removed_boxes_are_found_again_by_another_model(page, shared_data):
    page.get_by_label("Model").select_option("animals")
    choose(page, shared_data / ANIMALS[0])
    expect_found(page, 1)
    page.get_by_role("button", name="Remove box 1").click()
    page.get_by_label("Model").select_option("people")
    sync_api.expect(_status(page)).to_have_text(NOTHING)
    assert page.locator("#speed").inner_text().startswith("detector ")
    page.get_by_label("Model").select_option("animals")
    expect_found(page, 1)
    assert page.get_by_role("group", name="Box 1").is_visible()


def test_an_isolated_page_uses_threads(offline, web_demo, predictor, shared_data):
    with watched(offline, web_demo.isolated_url, expected=NO_ADAPTER) as page:
        cores = page.evaluate("navigator.hardwareConcurrency")
        choose(page, shared_data / PEOPLE[0])
        _expect_predictors_poses(page, predictor("people"), shared_data / PEOPLE[0])
        threads = min(cores, 4)
        assert page.locator("#speed").inner_text().endswith(f", {threads} thread{'s' * (threads > 1)}")


def test_the_policy_blocks_requests_to_other_machines(offline, web_demo, picture, tmp_path):
    """The worker is replaced by one that requests another server, which would respond."""
    folder = copy(web_demo, tmp_path)
    with serve(tmp_path) as elsewhere:
        worker = folder / "worker.js"
        asking = (
            f'fetch("{elsewhere}").then(() => "sent", () => "kept").then((error) => {{'
            "  self.onmessage = () => self.postMessage({ error });"
            "});"
        )
        worker.unlink()
        worker.write_text(asking, encoding="utf-8")
        with serve(folder) as url, watched(offline, url, expected=f"{NO_ADAPTER}|Content Security Policy") as page:
            choose(page, picture)
            sync_api.expect(_status(page)).to_have_text("kept")
            assert page.evaluate(f"fetch('{elsewhere}').then(() => 'sent', () => 'kept')") == "kept"


def test_the_page_works_by_keyboard(page, picture):
    choose_by_keyboard(page, picture)
    expect_found(page, 1)
    tab_to(page, "Model")
    page.keyboard.press("ArrowDown")
    sync_api.expect(_status(page)).to_have_text(NOTHING)
    tab_to(page, "Whole picture")
    page.keyboard.press("Enter")
    expect_found(page, 1)
    for name in ("Find keypoints", "Box", "Choose a picture", "Start the camera"):
        tab_to(page, name)


@pytest.mark.parametrize("width", [360, 390])
def test_a_narrow_screen_needs_no_sideways_scrolling(offline, web_demo, picture, width):
    size = {"width": width, "height": 740}
    with watched(offline, web_demo.url, expected=NO_ADAPTER, viewport=size) as page:
        choose(page, picture)
        expect_found(page, 1)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        for control in (*page.get_by_role("button").all(), *page.get_by_role("combobox").all()):
            area = control.bounding_box()
            assert area["x"] >= 0 and area["x"] + area["width"] <= width


def test_controls_have_names_and_texts_have_contrast(page, picture):
    choose(page, picture)
    expect_found(page, 1)
    for role, name in (("button", "Start the camera"), ("combobox", "Model")):
        assert page.get_by_role(role, name=name).is_visible()
    texts = ("h1", "header p", "#name", ".drop label", "#camera", "#choices label", "#model", "#message", "#speed")
    expect_readable(page, (*texts, "legend", "fieldset label", "#find", "caption", "td", "tr.unseen td"))
