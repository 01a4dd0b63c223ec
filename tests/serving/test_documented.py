"""The commands and the client in docs/serve.md run as documented."""

import json
import re
import shutil
import subprocess
import sys

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")

from tests.serving.servers import ROOT

PAGE = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")


def _run(command, server, picture, folder):
    shutil.copyfile(picture, folder / "photo.jpg")
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("command", re.findall("^curl .*", PAGE, re.MULTILINE))
def test_the_documented_curl_runs(command, server, picture, tmp_path):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    out = _run(["sh", "-c", command.replace("8000", str(server.port))], server, picture, tmp_path)
    expected = [280, 44, 218, 346] if "boxes" in command else [0, 0, 640, 425]
    assert json.loads(out)["poses"][0]["box"] == expected


def test_the_documented_client_runs(server, picture, tmp_path):
    (code,) = re.findall("```python\n(.*?)```", PAGE, re.DOTALL)
    out = _run([sys.executable, "-c", code.replace("8000", str(server.port))], server, picture, tmp_path)
    score, _, keypoints = out.partition(" ")
    assert float(score) >= 0 and len(json.loads(keypoints)) == 17


def test_the_documented_limits_are_the_defaults():
    help_text = subprocess.run(
        [sys.executable, "-m", "mamkpd_jax", "serve", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    flags = dict(re.findall(r"`--(\w+)=(\d+)`", PAGE))
    assert len(flags) >= 7
    for name, value in flags.items():
        default = re.search(rf"--{name}:.*?\(default: '([^']*)'\)", help_text, re.DOTALL)
        assert default and float(default[1]) == float(value), name
