"""The training of a peer learns, resumes bit-exactly, and writes the same files as train.py."""

import dataclasses
import json

import pytest

from mamkpd_jax.config import ModelConfig

torch = pytest.importorskip("torch")

_PROGRAM = "-m mamkpd_jax bench train_peer"
_FLAGS = ("--peer=simple_baseline:0.125",)


@pytest.fixture
def config(tiny):
    model = ModelConfig(stem=False, depths=(1, 1, 1), dims=(8, 8, 8), decoder_dim=8)
    return dataclasses.replace(tiny, model=model, data=dataclasses.replace(tiny.data, input_hw=(64, 64)))


def test_resume_is_bit_exact_and_writes_a_report(config, run, tmp_path):
    def trained(workdir, *epochs):
        for n in epochs:
            optim = dataclasses.replace(config.optim, epochs=n)
            status, out, err = run(_PROGRAM, dataclasses.replace(config, optim=optim), workdir, *_FLAGS)
            assert status == 0, err
        return torch.load(workdir / "peer.pt", weights_only=True), out, err

    whole, out, _ = trained(tmp_path / "whole", 3)
    parts, _, err = trained(tmp_path / "parts", 2, 3)
    assert "resuming from step 6 of 9" in err
    assert whole["step"] == parts["step"] == 9
    for name, tensor in whole["model"].items():
        assert torch.equal(tensor, parts["model"][name]), name
    report = json.loads((tmp_path / "whole" / "report.json").read_bytes())
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    n_params = sum(tensor.numel() for name, tensor in whole["model"].items() if not name.endswith(statistics))
    assert (report["peer"], report["step"], report["params"]) == ("simple_baseline:0.125", 9, n_params)
    assert "AP" in out
    log = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    losses = [record["train/loss"] for record in log if "train/loss" in record]
    assert len(losses) == 9
    assert losses[-1] < losses[0]


def test_heatmaps_of_another_stride_are_refused(tiny, run, tmp_path):
    status, _, err = run(_PROGRAM, tiny, tmp_path, *_FLAGS)
    assert status == 1
    assert "error: config: expected the heatmap head and three stages" in err.splitlines()[-1]


def test_initial_weights_are_refused(config, run, tmp_path):
    status, _, err = run(_PROGRAM, dataclasses.replace(config, init_from="runs/other"), tmp_path, *_FLAGS)
    assert status == 1
    assert "error: config.init_from: peers start from random weights; leave it out" in err.splitlines()[-1]
