"""The web demo on WebGPU, with Chromium's software adapter, which takes half a minute per detection."""

import json

import numpy as np

from mamkpd_jax import Predictor
from tests.browser import OFFLINE, chromium
from tests.demo.pages import choose, expect_found, sync_api, watched
from tests.demo.web_demo import copy, serve, web_demo

__all__ = ["web_demo"]

SOFTWARE_GPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan")


def test_webgpu_poses_equal_the_predictors(web_demo, shared_data, tmp_path):
    picture = shared_data / "coco_mini" / "000000000785.jpg"
    folder = copy(web_demo, tmp_path)
    about = json.loads((folder / "models.json").read_text(encoding="utf-8"))
    about["models"][0]["classes"] = None  # a model for a class that the detector does not know
    (folder / "models.json").unlink()
    (folder / "models.json").write_text(json.dumps(about), encoding="utf-8")
    with chromium(OFFLINE, *SOFTWARE_GPU) as browser, serve(folder) as url, watched(browser, url) as page:
        page.get_by_label("Run by").select_option("WebGPU")
        choose(page, picture)
        expect_found(page, 1)
        sync_api.expect(page.locator("#speed")).to_contain_text("WebGPU")
        rows = [[float(n) for n in row.inner_text().split("\t")[1:]] for row in page.locator("#joints tr").all()]
    (expected,) = Predictor.from_pretrained("people")(picture, "whole")
    np.testing.assert_allclose(np.array(rows)[:, :2], expected.keypoints[0], atol=0.5)
