"""The order of a map's positions in a sequence, by rows and by columns."""

import jax.numpy as jnp
import numpy as np
import pytest

from mamkpd_jax.ops.cross_scan import to_map, to_sequence


def test_order_of_a_2x3_map():
    x = jnp.array([[0, 1, 2], [3, 4, 5]]).reshape(1, 2, 3, 1)
    assert [to_sequence(x, columns).ravel().tolist() for columns in (False, True)] == [[*range(6)], [0, 3, 1, 4, 2, 5]]


@pytest.mark.parametrize("columns", [False, True])
def test_to_map_is_the_inverse(columns):
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4))
    np.testing.assert_array_equal(to_map(to_sequence(jnp.asarray(x), columns), columns, 3, 5), np.float32(x))
