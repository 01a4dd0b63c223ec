"""`mamkpd predict` with videos: files, streams, animated pictures, and a crash in the middle."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import cv2
import pytest

from tests.inference.clips import damage, decoded, views, write_clip
from tests.inference.conftest import config, random_weights, workdir
from tests.inference.streams import http_server, rtsp_server

__all__ = ["config", "random_weights", "workdir"]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def start(workdir):
    """Starts the program with each frame as one box, without the flip test."""

    def program(*flags: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "mamkpd_jax", "predict", f"--checkpoint={workdir}", "--noflip_test"]
        command += ["--boxes=whole", *flags]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(command, cwd=ROOT, **pipes)

    return program


@pytest.fixture(scope="module")
def run(start):
    """Runs the program as `start` does; returns its exit status, output and errors."""

    def program(*flags: str) -> tuple[int, str, str]:
        process = start(*flags)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    return program


@pytest.fixture(scope="module")
def photo(shared_data) -> Path:
    return shared_data / "coco_mini" / "000000000785.jpg"


def _results(output: Path) -> list[dict]:
    return json.loads((output / "results.json").read_bytes())


def test_a_crash_keeps_the_poses_found(start, run, photo, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", views(photo, 80) * 20, rate=Fraction(25))
    output, flags = tmp_path / "out", (f"--input={clip}", f"--output={tmp_path / 'out'}")
    output.mkdir()
    for name, text in ("poses.jsonl", ""), ("results.json", "[1]"):
        (output / name).write_text(text, encoding="utf-8")
    process, lines = start(*flags), output / "poses.jsonl"
    deadline = time.monotonic() + 120
    while not lines.exists() or lines.read_bytes().count(b"\n") < 150:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    found = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()]
    assert [line["frame"] for line in found] == list(range(len(found))) and all(line["poses"] for line in found)
    drawn, times_s = decoded(output / "clip.unfinished.mp4")
    assert len(found) - 61 <= len(drawn) <= len(found) and times_s[:3] == [0.0, 0.04, 0.08]
    assert not (output / "results.json").exists() and not (output / "clip.mp4").exists()

    status, _, errors = run(*flags, "--max_frames=9", "--nodraw")
    assert status == 0 and "out holds an unfinished run; all frames are predicted again" in errors
    assert [pose["frame"] for pose in _results(output)] == list(range(9))
    assert sorted(os.listdir(output)) == ["poses.jsonl", "results.json"]
    status, _, errors = run(*flags, "--max_frames=3")
    assert status == 0 and "unfinished" not in errors and len(_results(output)) == 3


def test_lost_frames_end_with_status_3(run, photo, tmp_path):
    clip = damage(write_clip(tmp_path / "clip.mp4", views(photo, 40)), 0.45, 0.55)
    status, printed, errors = run(f"--input={clip}", f"--output={tmp_path / 'out'}")
    *_, title, line = errors.strip().splitlines()
    assert status == 3 and title == "problems (1):"
    assert (found := re.fullmatch(r".*clip.mp4: frames (\d+) to (\d+) can't be decoded; .*", line))
    first, last = int(found[1]), int(found[2])
    assert [pose["frame"] for pose in _results(tmp_path / "out")] == [*range(first), *range(last + 1, 40)]
    assert f"{40 - (last + 1 - first)} frames, " in printed


def test_animated_pictures_are_predicted_as_videos(run, photo, tmp_path):
    animation = cv2.Animation()
    animation.frames = [cv2.cvtColor(frame, cv2.COLOR_RGB2BGRA) for frame in views(photo, 3)]
    animation.durations = [100, 50, 400]
    assert cv2.imwriteanimation(str(tmp_path / "moving.gif"), animation)
    status, printed, errors = run(f"--input={tmp_path / 'moving.gif'}", f"--output={tmp_path / 'out'}")
    assert status == 0 and "3 frames, " in printed, errors
    assert [(pose["frame"], pose["time_s"]) for pose in _results(tmp_path / "out")] == [(0, 0.0), (1, 0.1), (2, 0.15)]
    assert decoded(tmp_path / "out" / "moving.mp4")[1] == [0.0, 0.1, 0.15]


def test_videos_are_read_over_the_network(run, photo, tmp_path):
    frames = views(photo, 12)
    write_clip(tmp_path / "clip.mp4", frames, flags="faststart")
    with http_server(tmp_path) as address:
        flags = f"--input={address}/clip.mp4?token=1", f"--output={tmp_path / 'web'}"
        status, printed, errors = run(*flags)
        assert status == 0 and "12 frames, " in printed, errors
        assert len(_results(tmp_path / "web")) == 12 and (tmp_path / "web" / "clip.mp4").exists()
        status, _, errors = run(f"--input={address}/none.mp4", f"--output={tmp_path / 'none'}")
        assert status == 1 and "none.mp4 can't be opened as a video (server returned 404 not found)" in errors
    status, _, errors = run(*flags, "--offline")
    assert status == 1 and "clip.mp4?token=1 is a network address, and --offline is set; give a local file" in errors


def test_rtsp_streams_are_predicted(run, photo, tmp_path):
    clip = write_clip(tmp_path / "door.ts", views(photo, 12), rate=Fraction(25))
    with rtsp_server(clip) as address:
        status, printed, errors = run(f"--input={address}", f"--output={tmp_path / 'out'}")
    assert status == 0 and "/door: 12 frames, " in printed, errors
    assert "secret" not in printed + errors
    assert [pose["frame"] for pose in _results(tmp_path / "out")] == list(range(12))
    assert len(decoded(tmp_path / "out" / "door.mp4")[0]) == 12
