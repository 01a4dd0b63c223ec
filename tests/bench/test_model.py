"""The benchmark of whole models: contenders agree, inputs alternate, failures are reported, rows are unique."""

import json

import numpy as np
import pytest

from mamkpd_jax.bench.programs import model
from mamkpd_jax.config import ModelConfig
from mamkpd_jax.errors import UserError
from mamkpd_jax.model import mamkpd


@pytest.fixture
def flags(monkeypatch, tmp_path):
    """The flags of a small run, and a variant named "tiny"."""

    def flag(value):
        return type("Flag", (), {"value": value})

    monkeypatch.setitem(mamkpd.VARIANTS, "tiny", ModelConfig(stem=False, depths=(1,), dims=(8,), decoder_dim=8))
    monkeypatch.setattr(model, "INPUT_HW", (32, 32))
    lists = {"_TORCH": [], "_SCANS": [], "_BATCHES": [1, 2]}
    for name, value in {**lists, "_DTYPE": "float32", "_PARTS": False, "_MINUTES": 9.0}.items():
        monkeypatch.setattr(model, name, flag(value))
    for name, value in {"REPEATS": 2, "_PEAK": 1.0, "_OUTPUT": str(tmp_path / "model.json")}.items():
        monkeypatch.setattr(model.measure, name, flag(value))


def test_contenders_agree_and_failures_are_reported(flags):
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
    assert np.abs(by_input[0][0] - by_input[1][0]).max() > 0.1 * largest  # inputs alternate
    broken_one = model.Contender("broken", 1, 1, broken)
    rows = {row["contender"]: row for row in model.timed(group | {"broken": broken_one}, batch=1, bandwidth=1e9)}
    assert rows["broken"]["error"] == "too large"
    for name in group:
        assert rows[name]["crops_per_s"] > 0 and rows[name]["mfu"] > 0
        assert rows[name]["memory_mib"] > 0 and rows[name]["of_copy_bandwidth"] > 0


def test_scans_are_chosen_by_name(flags, monkeypatch):
    monkeypatch.setattr(model, "_SCANS", type("Flag", (), {"value": ["sequential"]}))
    assert set(model.contenders("tiny")) == {"tiny, jax, sequential"}
    monkeypatch.setattr(model, "_SCANS", type("Flag", (), {"value": ["pallas_triton"]}))
    with pytest.raises(UserError, match="--scans names 'pallas_triton'; cpu has sequential, associative"):
        model.contenders("tiny")


def test_larger_group_is_timed_again_without_duplicates(flags, tmp_path, monkeypatch):
    called = []

    def contender(name):
        ready = model.Ready(lambda i: called.append(name), memory_bytes=None, moved_bytes=None)
        return {name: model.Contender(name, 1, 1, lambda inputs: ready)}

    def rows():
        return [(row["contender"], row["batch"]) for row in json.loads((tmp_path / "model.json").read_bytes())["rows"]]

    monkeypatch.setattr(model.measure, "copy_bandwidth", lambda: 1e9)
    model.run([contender("a")])
    assert rows() == [("a", 1), ("a", 2)]
    model.run([contender("a") | contender("b")])
    assert rows() == [("a", 1), ("b", 1), ("a", 2), ("b", 2)] and {*called} == {"a", "b"}
    called.clear()
    model.run([contender("b")])
    assert not called and len(rows()) == 4


def test_times_of_parts_add_up(flags, monkeypatch, tmp_path, capsys):
    for name, value in {"_PARTS": True, "_SCANS": ["sequential"], "_BATCHES": [1]}.items():
        monkeypatch.setattr(model, name, type("Flag", (), {"value": value}))
    model.run([model.contenders("tiny")])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("tiny, jax, sequential, ms: ")]
    parts = dict(part.split() for part in line.partition("ms: ")[2].split(", "))
    assert list(parts) == ["scan", "depth-wise", "norms", "activations", "dense"]
    rows = json.loads((tmp_path / "model.json").read_bytes())["rows"]
    ms = {row["contender"].removeprefix("tiny, jax, sequential"): row["median_ms"] for row in rows}
    assert float(parts["scan"]) == pytest.approx(ms[""] - ms[", without scan"], abs=0.051)
    assert sum(map(float, parts.values())) == pytest.approx(ms[""], abs=0.3)
