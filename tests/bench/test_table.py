"""Tables of README.md are made from the files of results."""

import pytest

from mamkpd_jax.bench.table import table
from mamkpd_jax.errors import UserError

_ROWS = {"decode": {"median_ms": 1.23456, "n": 7}, "crop": {"median_ms": 0.5, "n": 8}}


def test_rows_by_name_and_in_a_list():
    by_name = table({"rows": _ROWS})
    assert by_name == "| part | median_ms | n |\n| --- | --- | --- |\n| decode | 1.235 | 7 |\n| crop | 0.5 | 8 |"
    assert table({"rows": list(_ROWS.values())}, ["n"]) == "| n |\n| --- |\n| 7 |\n| 8 |"


def test_a_column_that_there_is_not_is_told():
    with pytest.raises(UserError, match="no column 'mean_ms'; it has part, median_ms, n"):
        table({"rows": _ROWS}, ["mean_ms"])
