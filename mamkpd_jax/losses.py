"""The training loss (MamKPD sec. 3.1, eq. 4)."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def heatmap_mse(
    predicted: Float[Array, "b h w j"], target: Float[Array, "b h w j"], weights: Float[Array, "b j"]
) -> Float[Array, ""]:
    """Mean over all heatmap pixels of the squared error, an unlabelled joint's weighted 0.

    Source: MamKPD eq. 4; the weights are SimpleBaseline's, arXiv 1804.06208.
    """
    error = jnp.square(predicted.astype(jnp.float32) - target) * weights[:, None, None, :]
    return jnp.mean(error)
