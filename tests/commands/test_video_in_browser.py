"""A drawn video plays in a browser. The test needs a Chromium with H.264, such as Debian's; playwright's lacks it."""

from fractions import Fraction

import pytest

from tests.browser import browser
from tests.commands.test_predict_video import photo, run, start
from tests.inference.clips import views, write_clip
from tests.inference.conftest import config, random_weights, workdir
from tests.inference.streams import http_server

__all__ = ["browser", "config", "photo", "random_weights", "run", "start", "workdir"]

_STATE = """video => ({
  time: video.currentTime, duration: video.duration, width: video.videoWidth, height: video.videoHeight,
  frames: video.getVideoPlaybackQuality().totalVideoFrames, error: video.error && video.error.message,
})"""


@pytest.mark.slow  # half a minute
def test_a_video_of_211_fps_plays(run, browser, photo, tmp_path):
    page = browser.new_page(viewport={"width": 400, "height": 320})
    if not page.evaluate("document.createElement('video').canPlayType('video/mp4; codecs=\"avc1.640015\"')"):
        pytest.skip("this Chromium has no H.264; install the system's package (apt-get install chromium)")
    rate = Fraction(211_222, 1000)
    clip = write_clip(tmp_path / "clip.avi", views(photo, 80, (319, 239)) * 5, rate=rate, codec="mjpeg")
    status, _, errors = run(f"--input={clip}", f"--output={tmp_path / 'out'}", "--joint_threshold=0")
    assert status == 0, errors
    (tmp_path / "out" / "page.html").write_text("<video src='clip.mp4' muted></video>", encoding="utf-8")
    with http_server(tmp_path / "out") as address:
        page.goto(f"{address}/page.html")
        video = page.locator("video")
        video.evaluate("video => video.play()")
        page.wait_for_function("document.querySelector('video').currentTime > 0.6", timeout=30_000)
        before = video.evaluate(_STATE)
        page.wait_for_function("document.querySelector('video').ended", timeout=30_000)
        after = video.evaluate(_STATE)
        page.close()
    assert before["error"] is None and after["error"] is None
    assert (after["width"], after["height"]) == (320, 240), "odd sides get a pixel more"
    assert after["duration"] == pytest.approx(400 / float(rate), abs=0.01)
    assert 0.6 < before["time"] < after["time"] and 5 < before["frames"] < after["frames"]
