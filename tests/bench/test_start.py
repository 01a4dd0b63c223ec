"""The bench of starting predict fills the folder that the second start reads."""

import pytest

from mamkpd_jax.bench.people import items
from mamkpd_jax.bench.programs.start import start_s
from tests.inference.conftest import config, random_weights, workdir

__all__ = ["config", "random_weights", "workdir"]


@pytest.mark.slow
def test_starts_share_a_cache(workdir, tmp_path):
    (tmp_path / "picture.jpg").write_bytes(items()[0]["image"])
    (tmp_path / "run").symlink_to(workdir)
    assert start_s(tmp_path, tmp_path / "cache") > 0
    (entry,) = (tmp_path / "cache").rglob("jit_program-*-cache")
    assert start_s(tmp_path, tmp_path / "cache") > 0
    assert list((tmp_path / "cache").rglob("jit_program-*-cache")) == [entry], "the second start has the same program"
