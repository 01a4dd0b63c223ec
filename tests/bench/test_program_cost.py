"""The model's programs for a GPU cost what the committed result file has."""

import json
from pathlib import Path

import jax
import pytest

from mamkpd_jax.bench import described_gpu
from mamkpd_jax.bench.programs import program_cost
from mamkpd_jax.errors import UserError

_COMMITTED = json.loads((Path(__file__).parents[2] / "benchmarks" / "program_cost.json").read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize(
    "committed",
    [
        row
        for row in _COMMITTED["rows"]
        if row["variant"] == "base" and (row["program"], row["batch"]) != ("gradients", 1)
    ],
    ids=lambda row: "{program}, batch {batch}".format(**row),
)
def test_costs_match_the_committed_ones(committed):
    try:
        described_gpu.cuda_folder()
    except UserError as missing:
        pytest.skip(f"the CUDA compiler is missing: {missing}")
    if (version := _COMMITTED["environment"]["versions"]["jax"]) != jax.__version__:
        pytest.skip(f"program_cost.json is of jax {version}, which compiles other programs than {jax.__version__}")
    found, _ = program_cost.row(committed["variant"], committed["program"], committed["batch"])
    for value in ("kernels", "mb_per_crop"):
        assert found[value] == pytest.approx(committed[value], rel=0.03), value
