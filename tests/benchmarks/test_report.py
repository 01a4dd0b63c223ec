"""README.md's comparing tables are those of the result files."""

import json
from pathlib import Path

import pytest

from benchmarks import report

_README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


def test_the_readme_is_what_the_results_say():
    assert report.rendered(_README) == _README


def test_what_has_no_result_is_not_measured_and_the_fastest_scan_counts(tmp_path, monkeypatch):
    rows = [
        {"model": "base", "contender": f"base, jax, {scan}", "parameters": 7e6, "GMACs": 2.5, "batch": 1}
        | {"median_ms": ms, "crops_per_s": 1e3 / ms}
        for scan, ms in (("sequential", 80.0), ("associative", 50.0))
    ]
    (tmp_path / "speed_cpu.json").write_text(json.dumps({"rows": rows}))
    monkeypatch.setattr(report, "_RESULTS", tmp_path)
    lines = report.rendered(_README).splitlines()
    of_base = [line for line in lines if line.startswith("| base |")]
    assert of_base[0] == "| base | 7 M, 2.5 GMACs | 50 ms |" + " not measured |" * 4
    assert set(of_base[1].split(" | ")[1:]) == {"not measured", "not measured |"}


def test_a_readme_without_a_table_is_refused():
    with pytest.raises(ValueError, match="0 places for the table speed"):
        report.rendered("")
