"""The web demo loads and runs its models before the first picture, so that displayed times exclude compilation."""

import re

import pytest

from tests.browser import offline
from tests.demo.pages import NO_ADAPTER, choose, drop, expect_found, runs, sync_api, watched
from tests.demo.web_demo import copy, log_runs, serve, web_demo

__all__ = ["offline", "web_demo"]

CROP, SQUARE = "1x128x128x3", "1x3x416x416"
# Makes the page report a WebGPU adapter that its worker does not have.
ADAPTER = "Object.defineProperty(navigator, 'gpu', {value: {requestAdapter: async () => ({})}})"


@pytest.fixture
def page(offline, web_demo, tmp_path):
    folder = copy(web_demo, tmp_path)
    log_runs(folder)
    with serve(folder) as url, watched(offline, url, expected=NO_ADAPTER, script=ADAPTER) as page:
        yield page


def _wait_for_runs(page, shapes):
    for _ in range(300):
        if len(runs(page)) >= len(shapes):
            break
        page.wait_for_timeout(100)
    assert runs(page) == shapes


def test_models_run_once_before_the_first_picture(page, picture):
    _wait_for_runs(page, [CROP, SQUARE])
    sync_api.expect(page.get_by_role("status")).to_have_text("")
    choose(page, picture)
    expect_found(page, 1)
    assert runs(page) == [CROP, SQUARE, SQUARE, CROP]


def test_another_model_is_prepared_without_a_picture(page):
    _wait_for_runs(page, [CROP, SQUARE])
    page.get_by_label("Model").select_option("animals")
    _wait_for_runs(page, [CROP, SQUARE, CROP])
    page.get_by_label("Model").select_option("people")
    page.get_by_label("Model").select_option("animals")
    page.wait_for_timeout(500)
    assert runs(page) == [CROP, SQUARE, CROP]


def test_the_status_names_what_loads(offline, web_demo, picture):
    held = []
    with watched(offline, web_demo.url, expected=NO_ADAPTER) as page:
        page.route("**/people.onnx", lambda route: held.append(route))
        page.reload()
        status = page.get_by_role("status")
        sync_api.expect(status).to_have_text("Loading people.onnx …")
        choose(page, picture)
        sync_api.expect(status).to_have_text("Looking for keypoints …")
        [route] = held
        route.continue_()
        expect_found(page, 1)


def test_loading_leaves_a_newer_message(page, picture):
    held, status = [], page.get_by_role("status")
    page.route("**/people.onnx", lambda route: held.append(route))
    page.reload()
    sync_api.expect(status).to_have_text("Loading people.onnx …")
    drop(page, picture.parent)
    sync_api.expect(status).to_contain_text("A folder was dropped.")
    before = runs(page)
    held.pop().continue_()
    _wait_for_runs(page, [*before, CROP, SQUARE])
    page.wait_for_timeout(1000)  # for the end of the last run
    sync_api.expect(status).to_contain_text("A folder was dropped.")


def test_a_failing_webgpu_is_reported_without_a_picture(page, picture):
    page.get_by_label("Run by").select_option("WebGPU")
    failed = r"WebGPU failed \(.+\): WebAssembly is used\."
    sync_api.expect(page.get_by_role("status")).to_have_text(re.compile(failed))
    assert page.get_by_label("Run by").input_value() == "wasm"
    choose(page, picture)
    expect_found(page, 1)
