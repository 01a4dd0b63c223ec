"""The web demo's error messages."""

import pytest

from tests.browser import offline
from tests.demo.pages import NO_ADAPTER, choose, drop, expect_found, sync_api, watched
from tests.demo.web_demo import copy, serve, web_demo

__all__ = ["offline", "web_demo"]


def _expect_message(page, text):
    sync_api.expect(page.locator("#message.bad")).to_have_text(text)


def test_no_webassembly_is_reported(offline, web_demo, picture):
    with watched(offline, web_demo.url, script="delete window.WebAssembly") as page:
        missing = "This browser has no WebAssembly, or it is switched off. Switch it on, or use another browser."
        _expect_message(page, missing)
        choose(page, picture)
        _expect_message(page, missing)


def test_bad_files_are_reported_and_the_next_works(offline, web_demo, bad_files, picture, tmp_path):
    (tmp_path / "cut.jpg").write_bytes(picture.read_bytes()[:60_000])
    (tmp_path / "long.jpg").write_bytes(picture.read_bytes() + bytes(100 * 2**20))
    messages = {
        bad_files["text"]: "The file of 360 bytes is not a picture that this browser can read. "
        "Choose a JPEG, PNG or WebP picture.",
        bad_files["huge"]: "The picture has 400 million pixels. Choose one of at most 100 million.",
        tmp_path / "cut.jpg": "The picture can't be decoded. Copy its file again if it is damaged, "
        "or choose a JPEG, PNG or WebP.",
        tmp_path / "long.jpg": "The file is larger than 100 MiB. Choose a smaller one.",
    }
    with watched(offline, web_demo.url, expected=NO_ADAPTER) as page:
        for path, message in messages.items():
            choose(page, path)
            _expect_message(page, message)
            assert page.locator("#stage").is_hidden() and page.locator("#result").is_hidden()
        choose(page, picture)
        expect_found(page, 1)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("people.onnx", "people.onnx can't be loaded (HTTP 404)"),
        ("nanodet_g.onnx", "nanodet_g.onnx can't be loaded (HTTP 404)"),
        ("ort/ort.wasm.min.mjs", "ort/ort.wasm.min.mjs can't be loaded"),
        ("ort/ort-wasm-simd-threaded.wasm", "ort/ort-wasm-simd-threaded.wasm can't be loaded (HTTP 404)"),
        ("worker.js", "worker.js failed"),
        ("models.json", "models.json can't be loaded (HTTP 404)"),
    ],
)
def test_missing_files_are_reported(offline, web_demo, picture, tmp_path, file, message):
    folder = copy(web_demo, tmp_path)
    (folder / file).unlink()
    with serve(folder) as url, watched(offline, url, expected=f"{NO_ADAPTER}|status of 404") as page:
        for _ in range(2):  # when the page opens, and for a picture
            sync_api.expect(page.locator("#message.bad")).to_contain_text(message)
            choose(page, picture)


def test_a_damaged_model_is_reported(offline, web_demo, tmp_path):
    folder = copy(web_demo, tmp_path)
    (folder / "people.onnx").unlink()
    (folder / "people.onnx").write_bytes(b"no model")
    with serve(folder) as url, watched(offline, url, expected=f"{NO_ADAPTER}|onnxruntime") as page:
        sync_api.expect(page.get_by_role("status")).to_contain_text("people.onnx can't be run (")


def test_a_dropped_folder_is_reported(offline, web_demo, picture):
    with watched(offline, web_demo.url, expected=NO_ADAPTER) as page:
        drop(page, picture.parent)
        _expect_message(page, "A folder was dropped. Drop the file of a picture.")
        drop(page, picture)
        expect_found(page, 1)
        assert page.evaluate("document.getElementById('file').files[0].name") == picture.name


def test_a_drop_before_the_models_stays_reported(offline, web_demo, picture):
    held = []
    with watched(offline, web_demo.url, expected=NO_ADAPTER) as page:
        page.route("**/models.json", lambda route: held.append(route))
        with page.expect_request("**/models.json"):
            page.reload()
        drop(page, picture.parent)
        _expect_message(page, "A folder was dropped. Drop the file of a picture.")
        held[0].continue_()
        sync_api.expect(page.get_by_role("button", name="Start the camera")).to_be_visible()
        _expect_message(page, "A folder was dropped. Drop the file of a picture.")


def test_a_dropped_text_is_reported(offline, web_demo):
    with watched(offline, web_demo.url, expected=NO_ADAPTER) as page:
        data = page.evaluate_handle("() => { const d = new DataTransfer(); d.setData('text/plain', 'x'); return d; }")
        page.dispatch_event("#drop", "drop", {"dataTransfer": data})
        _expect_message(page, "Something other than a file was dropped. Drop the file of a picture.")


def test_a_page_opened_as_file_suggests_a_server(offline, web_demo):
    page = offline.new_page()
    page.goto((web_demo.folder / "index.html").as_uri())
    sync_api.expect(page.get_by_role("status")).to_contain_text("python -m http.server")
    page.close()
