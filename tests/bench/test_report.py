"""The tables of README.md and docs/ are those of the result files."""

import json
import re
from pathlib import Path

import pytest

from mamkpd_jax.bench import goals, repository
from mamkpd_jax.bench.programs import report
from mamkpd_jax.bench.tables import gflops, tables

_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made():
    return tables(repository.results())


@pytest.mark.parametrize("page", report.PAGES)
def test_pages_have_the_tables_of_the_results(page, made):
    text = (_ROOT / page).read_text(encoding="utf-8")
    assert report.rendered(text, made) == text


def test_every_table_is_on_exactly_one_page(made):
    pages = "".join((_ROOT / page).read_text(encoding="utf-8") for page in report.PAGES)
    assert sorted(re.findall(r"<!-- (?!end)(\w+) -->\n", pages)) == sorted(made)


def test_the_readme_is_short():
    words = (_ROOT / "README.md").read_text(encoding="utf-8").split()
    assert len(words) <= 900


def test_unmeasured_cells_are_left_out(tmp_path):
    rows = [
        {"model": "base", "contender": f"base, jax, {scan}", "parameters": 7e6, "GMACs": 2.5, "batch": 1}
        | {"median_ms": ms, "crops_per_s": 1e3 / ms}
        for scan, ms in (("sequential", 80.0), ("associative", 50.0))
    ]
    (tmp_path / "speed_cpu.json").write_text(json.dumps({"rows": rows}), encoding="utf-8")
    lines = tables(tmp_path)["speed"].splitlines()
    assert lines[0] == "| model | size | 2 CPU cores, batch 1 |"
    assert lines[2:] == ["| base | 7 M, 2.5 GMACs | 50 ms |"]


def test_unmeasured_goals_are_listed_below_the_table(tmp_path, made):
    text = tables(tmp_path)["goals"]
    assert "|" not in text and all(f"- {goal.what} (at " in text for goal in goals.GOALS)
    assert "not measured |" not in made["goals"]


def test_the_sum_is_near_the_papers_gflops():
    differences = [abs(float(row["difference"])) for row in gflops()]
    assert len(differences) == 7 and max(differences) <= 0.11


def test_goals_are_met_missed_or_not_measured(tmp_path):
    rates = {"base": 20_000.0, "small": 24_999.0, "simple_baseline": 19_000.0, "hrnet_w32": 9_000.0}
    rows = [
        {"model": name, "contender": f"{name}, compiled", "batch": 256, "crops_per_s": rate}
        for name, rate in rates.items()
    ]
    (tmp_path / "speed_gpu.json").write_text(json.dumps({"rows": rows}), encoding="utf-8")
    seeds = {"base": 3, "simple_baseline": 3, "hrnet_w32": 2}
    rows = [{"contender": name, "seeds": n, "pck@0.2": 30.0 + n} for name, n in seeds.items()]
    (tmp_path / "accuracy_lspet.json").write_text(json.dumps({"rows": rows, "runs": []}), encoding="utf-8")
    (tmp_path / "accuracy_animalpose.json").write_text(json.dumps({"rows": rows}), encoding="utf-8")
    cells = [(row["measured"], row["met"]) for row in (goal.row(tmp_path) for goal in goals.GOALS)]
    assert cells[:2] == [("20,000", "yes"), ("24,999", "no")]
    assert cells[7:9] == [("not measured", ""), ("0", "yes")]  # HRNet lacks a seed
    assert set(cells[2:7] + cells[9:]) == {("not measured", "")}  # no Large, ViT-S, batch 1 or runs


def test_base_is_compared_with_compiled_peers_alone():
    rows = [{"model": "base", "contender": "base, jax, pallas", "batch": 256, "crops_per_s": 20.0}]
    for name, rate in {"simple_baseline": 10.0, "hrnet_w32": 8.0, "vit_s": 16.0}.items():
        rows.append({"model": name, "contender": f"{name}, torch, eager", "batch": 256, "crops_per_s": rate})
    with pytest.raises(ValueError):
        goals._ahead_at_speed({"rows": rows})
    compiled = [row | {"contender": row["contender"].replace("eager", "compiled")} for row in rows]
    assert goals._ahead_at_speed({"rows": compiled}) == 1.25


def test_an_unknown_table_is_refused(made):
    with pytest.raises(ValueError, match="a table 'spede'; expected one of speed, accuracy"):
        report.rendered("<!-- spede -->\n\n<!-- end -->", made)
