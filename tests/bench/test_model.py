"""The bench of whole models: contenders agree, inputs take turns, and one that can't run is reported."""

import numpy as np

from mamkpd_jax.bench import model
from mamkpd_jax.config import ModelConfig
from mamkpd_jax.models import mamkpd


def test_a_contender_that_fails_gives_its_reason(monkeypatch):
    tiny = ModelConfig(stem=False, depths=(1,), dims=(8,), decoder_dim=8)
    monkeypatch.setitem(mamkpd.VARIANTS, "tiny", tiny)
    monkeypatch.setattr(model, "_DTYPE", type("Flag", (), {"value": "float32"}))
    monkeypatch.setattr(model, "INPUT_HW", (32, 32))
    monkeypatch.setattr(model, "_TORCH", type("Flag", (), {"value": []}))
    monkeypatch.setattr(model.measure, "REPEATS", type("Flag", (), {"value": 2}))
    monkeypatch.setattr(model.measure, "_PEAK", type("Flag", (), {"value": 1.0}))

    def broken(inputs):
        raise MemoryError("too large\nby far")

    group = model.contenders("tiny")
    assert set(group) == {"tiny, jax, sequential", "tiny, jax, associative"}
    inputs = [np.full((1, 32, 32, 3), value, np.uint8) for value in (0, 200)]
    ready = [one.prepare(inputs) for one in group.values()]
    by_input = [[np.asarray(network.call(i)) for network in ready] for i in (0, 1)]
    largest = max(np.abs(heatmaps).max() for heatmaps in by_input[0])
    for sequential, associative in by_input:
        assert np.abs(sequential - associative).max() < 1e-3 * largest
    assert np.abs(by_input[0][0] - by_input[1][0]).max() > 0.1 * largest  # inputs take turns
    broken_one = model.Contender("broken", 1, 1, broken)
    rows = {row["contender"]: row for row in model.timed(group | {"broken": broken_one}, batch=1, bandwidth=1e9)}
    assert rows["broken"]["error"] == "too large"
    for name in group:
        assert rows[name]["crops_per_s"] > 0 and rows[name]["mfu"] > 0
        assert rows[name]["memory_mib"] > 0 and rows[name]["of_copy_bandwidth"] > 0
