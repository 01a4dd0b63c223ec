"""The benchmark of prediction times the whole prediction and its parts."""

from mamkpd_jax.bench.programs.predict import parts_ms
from tests.inference.conftest import config, pictures, predictor, random_weights, workdir

__all__ = ["config", "pictures", "predictor", "random_weights", "workdir"]


def test_all_parts_are_timed(predictor, pictures):
    people = [(path, boxes[0]) for path, boxes in pictures]
    times = parts_ms(predictor, people, repeats=2)
    assert list(times) == ["file to pose", "decode the image", "crop", "network", "decode the heatmaps"]
    assert all(len(row) == 2 and min(row) > 0 for row in times.values())
