"""Markdown tables of result files, and the tables of docs/export.md."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mamkpd_jax.bench.markdown import table
from mamkpd_jax.errors import UserError

_ROOT = Path(__file__).parents[2]
_ROWS = {"decode": {"median_ms": 1.23456, "n": 7}, "crop": {"median_ms": 0.5, "n": 8}}


def test_rows_by_name_and_in_a_list():
    by_name = table({"rows": _ROWS})
    assert by_name == "| part | median_ms | n |\n| --- | --- | --- |\n| decode | 1.235 | 7 |\n| crop | 0.5 | 8 |"
    assert table({"rows": list(_ROWS.values())}, ["n"]) == "| n |\n| --- |\n| 7 |\n| 8 |"


def test_failed_contender_has_empty_cells():
    rows = [{"name": "a", "error": "too large"}, {"name": "b", "ms": 2}]
    assert table({"rows": rows}).splitlines()[2:] == ["| a | too large |  |", "| b |  | 2 |"]


@pytest.mark.parametrize("content", [None, "", "no JSON", "[]", "[1]", "{}", '{"rows": 3}', '{"rows": ["a"]}'])
def test_bad_result_file_gives_one_error_line(content, tmp_path):
    path = tmp_path / "result.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    command = [sys.executable, "-m", "mamkpd_jax", "bench", "table", f"--result={path}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"error: --result: {path} is not a benchmark result (")
    assert done.stderr.count("\n") == 1


def test_unknown_column_is_refused():
    with pytest.raises(UserError, match="no column 'mean_ms'; it has part, median_ms, n"):
        table({"rows": _ROWS}, ["mean_ms"])


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("export_cpu.json", ["contender", "batch", "median_ms", "p95_ms", "crops_per_s"]),
        ("int8_people.json", ["contender", "mib", "pck_torso@0.2/mean"]),
        ("int8_animals.json", ["contender", "mib", "pck_box@0.1/mean"]),
    ],
)
def test_export_page_has_the_results(name, columns):
    result = json.loads((_ROOT / "benchmarks" / "results" / name).read_bytes())
    assert table(result, columns) in (_ROOT / "docs" / "export.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("people", "pck_torso@0.2/mean"),
        ("people_flip_test", "pck_torso@0.2/mean"),
        ("animals", "pck_box@0.1/mean"),
        ("animals_flip_test", "pck_box@0.1/mean"),
    ],
)
def test_the_page_on_models_has_the_scores(name, metric):
    score = json.loads((_ROOT / "benchmarks" / "results" / f"{name}.json").read_bytes())[metric]
    page = (_ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert f"results/{name}.json" in page and f"{score:.1f}%" in page
