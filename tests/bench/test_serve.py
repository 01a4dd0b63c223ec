"""The load test of `mamkpd serve`."""

import asyncio
import json

import numpy as np
import pytest

from mamkpd_jax.bench.load.messages import difference, good_requests
from mamkpd_jax.errors import UserError
from mamkpd_jax.inference.predictor import Predictor
from tests.inference.conftest import config, random_weights, workdir

__all__ = ["config", "random_weights", "workdir"]


def _answer(keypoints: np.ndarray) -> bytes:
    scored = np.concatenate([keypoints, np.ones((*keypoints.shape[:2], 1))], axis=-1)
    return json.dumps({"poses": [{"keypoints": pose.tolist()} for pose in scored]}).encode()


def test_wrong_poses_are_detected():
    keypoints = np.arange(2 * 17 * 2, dtype=np.float64).reshape(2, 17, 2)
    assert difference(_answer(keypoints + 0.01), keypoints) is None
    moved = keypoints.copy()
    moved[1, 3, 0] += 2
    assert difference(_answer(moved), keypoints) == "a keypoint is 2.00 px from the Predictor's"
    assert difference(_answer(keypoints[:1]), keypoints) == "1 poses instead of 2"


@pytest.mark.slow  # starts servers
def test_no_request_fails_under_load_and_faults(workdir, shared_data):
    pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
    from mamkpd_jax.bench.load.server import started
    from mamkpd_jax.bench.programs.serve import load

    pictures = [path.read_bytes() for path in sorted((shared_data / "coco_mini").glob("*.jpg"))]
    good = good_requests(Predictor.from_pretrained(workdir, batch_size=4), pictures)
    assert len(good) == 8 and max(len(one.keypoints) for one in good) > 1
    with started(f"--checkpoint={workdir}", "--batch_size=4", "--read_timeout_s=0.5") as server:
        row = asyncio.run(load(server, good, 4, 2.0))
    assert (row["failure_examples"], row["unexpected"]) == ([], [])
    assert row["sigterm"]["running"] > 0 and (row["sigterm"]["failures"], row["sigterm"]["exit_status"]) == (0, 0)
    assert row["good"] > 10 and row["crops_per_s"] > row["pictures_per_s"] > 0 and row["memory_mib"]["end"] > 100
    assert 0 < row["latency_ms"]["p50"] <= row["latency_ms"]["p95"] <= row["latency_ms"]["p99"]
    assert "4.0" in row["batches"], "batches must mix the crops of several requests"
    seen = {
        "left while sending",
        "left while waiting",
        "sent slowly: 408",
        "too many bytes: 413",
        "truncated picture: 422",
    }
    assert seen <= set(row["bad_requests"])
    with pytest.raises(UserError, match="exit status 1"), started("--checkpoint=missing"):
        pass
