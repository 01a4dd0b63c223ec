"""The bench of whole models: contenders agree, and one that can't run is reported."""

import numpy as np

from mamkpd_jax.bench import model
from mamkpd_jax.config import ModelConfig
from mamkpd_jax.models import mamkpd


def test_a_contender_that_fails_gives_its_reason(monkeypatch):
    tiny = ModelConfig(stem=False, depths=(1,), dims=(8,), decoder_dim=8)
    monkeypatch.setitem(mamkpd.VARIANTS, "tiny", tiny)
    monkeypatch.setattr(model, "DTYPE", type("Flag", (), {"value": "float32"}))
    monkeypatch.setattr(model, "INPUT_HW", (32, 32))
    monkeypatch.setattr(model, "_TORCH", type("Flag", (), {"value": []}))
    monkeypatch.setattr(model.measure, "REPEATS", type("Flag", (), {"value": 2}))

    def broken(images):
        raise MemoryError("too large\nby far")

    forwards = model.contenders(model.random_weights("tiny"))
    assert set(forwards) == {"jax, sequential", "jax, associative"}
    images = np.zeros((1, 32, 32, 3), np.uint8)
    by_scan = [np.asarray(forward(images)()) for forward in forwards.values()]
    np.testing.assert_allclose(*by_scan, atol=1e-5)
    rows = {row["contender"]: row for row in model.timed(forwards | {"broken": broken}, batch=1)}
    assert rows["broken"]["error"] == "too large"
    assert all(rows[name]["crops_per_s"] > 0 for name in forwards)
