"""The order of positions in the four directions."""

import jax.numpy as jnp
import numpy as np
import pytest

from mamkpd_jax.ops.cross_scan import DIRECTIONS, to_map, to_sequence


def test_order_of_a_2x3_map():
    x = jnp.array([[0, 1, 2], [3, 4, 5]]).reshape(1, 2, 3, 1)
    orders = [to_sequence(x, k).ravel().tolist() for k in range(DIRECTIONS)]
    assert orders == [[0, 1, 2, 3, 4, 5], [0, 3, 1, 4, 2, 5], [5, 4, 3, 2, 1, 0], [5, 2, 4, 1, 3, 0]]


@pytest.mark.parametrize("direction", range(DIRECTIONS))
def test_to_map_is_the_inverse(direction):
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4))
    np.testing.assert_array_equal(to_map(to_sequence(jnp.asarray(x), direction), direction, 3, 5), np.float32(x))
