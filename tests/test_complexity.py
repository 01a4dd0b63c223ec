"""Parameters and MACs of all variants, as the README shows them."""

import json
import subprocess
import sys

import pytest

from mamkpd_jax.complexity import PAPER, format_table, rows

# Exact parameters (17 joints) and GMACs (one 256x192 crop) of an independent implementation with the same choices.
INDEPENDENT = {
    "small": (6_427_122, 2.12),
    "base": (6_974_801, 2.51),
    "large": (12_326_673, 4.34),
    "ablation_a": (4_023_569, 1.54),
    "ablation_b": (8_913_873, 1.40),
    "ablation_c": (3_136_401, 1.17),
    "ablation_d": (27_570_833, 9.49),
}


@pytest.fixture(scope="module")
def table() -> dict[str, dict]:
    return {row["name"]: row for row in rows()}


@pytest.mark.parametrize("name", INDEPENDENT)
def test_counts_match_an_independent_build(table, name):
    params, gmacs = INDEPENDENT[name]
    assert table[name]["params"] == params
    assert table[name]["macs"] / 1e9 == pytest.approx(gmacs, abs=0.005)


@pytest.mark.parametrize("name", PAPER)
def test_parameters_match_the_paper(table, name):
    assert table[name]["params"] == pytest.approx(PAPER[name][0], rel=0.025)


def test_parts_add_up(table):
    for row in table.values():
        assert row["params"] == sum(part["params"] for part in row["parts"].values())
        assert row["macs"] == sum(part["macs"] for part in row["parts"].values())


def test_ablations_of_figure_3_differ_from_base(table):
    assert "stem" not in table["without_stem"]["parts"]
    assert table["without_cmm"]["params"] != table["base"]["params"] != table["patch_merging"]["params"]
    assert table["without_stem_and_cmm"]["macs"] < table["base"]["macs"]


def test_command_prints_the_table(table):
    command = [sys.executable, "-m", "mamkpd_jax", "complexity", "--format=json"]
    printed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert {row["name"]: row for row in printed} == table
    assert "6,974,801" in format_table(printed)
