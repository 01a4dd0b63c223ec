"""Tables of README.md are made from the files of results."""

import json
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


def test_a_column_that_there_is_not_is_told():
    with pytest.raises(UserError, match="no column 'mean_ms'; it has part, median_ms, n"):
        table({"rows": _ROWS}, ["mean_ms"])


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("accuracy_quickstart.json", []),
        ("export_cpu.json", ["contender", "batch", "median_ms", "p95_ms", "crops_per_s"]),
    ],
)
def test_the_readme_has_the_tables_of_the_results(name, columns):
    result = json.loads((_ROOT / "benchmarks" / "results" / name).read_bytes())
    assert table(result, columns) in (_ROOT / "README.md").read_text()
