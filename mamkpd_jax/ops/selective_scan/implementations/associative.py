"""The selective scan as a parallel prefix in chunks, for any device.

A loop over chunks carries the state; inside a chunk `lax.associative_scan` works on all tokens at once. Each chunk is
rematerialised in the backward pass, so that the stored memory grows with the number of chunks, not with length x
states. (The closed form with exp(cumsum) is unusable: it divides by a decay that underflows.)
"""

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from mamkpd_jax.ops.selective_scan import by_sequence

# Choice: on a CPU, no other length from 16 to 256 is faster in all stages and passes (`mamkpd bench scan --chunks`).
# Not measured on a GPU.
CHUNK = 64


def scan(
    u: Float[Array, "l b d"],
    delta: Float[Array, "l b d"],
    A: Float[Array, "d n"],
    B: Float[Array, "l b n"],
    C: Float[Array, "l b n"],
    reverse: bool,
    chunk: int = CHUNK,
) -> Float[Array, "l b d"]:
    """The scan of fp32 sequences, without the D skip. States are [.., n, d], because the last axis is vectorised."""
    length, batch, dim = u.shape
    chunk = min(chunk, length)
    n_chunks = -(-length // chunk)

    # A padded token has delta 0: decay 1 and no input, so it changes nothing.
    def chunked(x: Array) -> Array:
        x = jnp.pad(x, ((0, n_chunks * chunk - length), (0, 0), (0, 0)))
        return x.reshape(n_chunks, chunk, *x.shape[1:])

    @jax.checkpoint
    def one(h: Array, tokens: tuple[Array, ...]) -> tuple[Array, Array]:
        u, delta, B, C = tokens
        a = jnp.exp(delta[:, :, None] * A.T)
        x = (delta * u)[:, :, None] * B[..., None]
        decay, states = lax.associative_scan(_compose, (a, x), reverse=reverse)
        states = states + decay * h
        return states[0 if reverse else -1], jnp.sum(states * C[..., None], axis=2)

    start = jnp.zeros((batch, A.shape[1], dim), u.dtype)
    _, y = lax.scan(one, start, tuple(chunked(x) for x in (u, delta, B, C)), reverse=reverse)
    return y.reshape(n_chunks * chunk, batch, dim)[:length]


def _compose(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
    """The affine map h -> a h + x of two successive steps."""
    return first[0] * second[0], second[0] * first[1] + second[1]


IMPLEMENTATION = by_sequence.implementation(scan, ranks={"default": 1})
