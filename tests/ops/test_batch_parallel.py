"""A function of independent batch elements under vmap; over devices it is tested with the scan."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mamkpd_jax.ops.batch_parallel import over_batch


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0)])
def test_vmap_over_arrays_and_weights(axes):
    def product(x, weight):
        return (jnp.einsum("bi,ij->jb", x, weight),)

    rng = np.random.default_rng(0)
    shapes = (5, 2, 3), (5, 3, 4)
    arrays = [jnp.float32(rng.normal(size=s if axis == 0 else s[1:])) for s, axis in zip(shapes, axes, strict=True)]
    (found,) = jax.vmap(over_batch(product, (0, None), (1,)), axes)(*arrays)
    (wanted,) = jax.vmap(product, axes)(*arrays)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
