"""Training on one device and on two gives the same results. Each runs in a new process, as JAX fixes the number."""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="module")
def five_steps(tmp_path_factory, devices):
    """Runs five steps on n devices; returns losses, parameters, averaged gradients and the step's HLO text."""
    folder = tmp_path_factory.mktemp("devices")

    @functools.cache
    def run(n_devices: int, fsdp: int, scan: str) -> dict[str, np.ndarray]:
        output = folder / f"{n_devices}_{fsdp}_{scan}.npz"
        command = [sys.executable, str(Path(__file__).with_name("steps_on_devices.py")), str(fsdp), scan, str(output)]
        root = str(Path(__file__).parents[2])
        subprocess.run(command, check=True, timeout=600, env=os.environ | devices(n_devices) | {"PYTHONPATH": root})
        return dict(np.load(output))

    return run


_FSDP = pytest.param(2, "auto", marks=pytest.mark.slow)  # test_train.py has such a run too
_KERNELS = pytest.param(1, "pallas_interpret", marks=pytest.mark.long)  # in interpret mode, a hundred seconds


# A BatchNorm cancels this scale, so its gradient is only rounding errors.
_ZERO = "gradient['encoder']['stages'][0]['norm']['scale']"


@pytest.mark.parametrize(("fsdp", "scan"), [(1, "auto"), _FSDP, _KERNELS])
def test_two_devices_train_like_one(five_steps, fsdp, scan):
    one, two = five_steps(1, 1, scan), five_steps(2, fsdp, scan)
    np.testing.assert_allclose(two["losses"], one["losses"], rtol=1e-5)
    for name in one.keys() - {"losses", "text", "split", _ZERO}:
        atol = 1e-7 if name.startswith("parameter") else 1e-5 * np.abs(one[name]).max()
        np.testing.assert_allclose(two[name], one[name], rtol=0, atol=atol, err_msg=name)
    assert two["split"] == fsdp, "with fsdp each device holds a part of the parameters, else all of them"

    text = str(two["text"])
    assert "all-reduce" in text, "the gradients are summed over the devices"
    gathered = [line for line in text.splitlines() if re.search(r"= [^=]*\ball-gather", line)]
    batches = [line for line in gathered if re.search(r"\[8,(64,48|16,12|8,6|4,3)", line) or "u8[" in line]
    assert not batches, "no device collects the whole batch"
    if fsdp == 1:
        assert not gathered
