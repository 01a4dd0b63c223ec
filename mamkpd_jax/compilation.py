"""How the project compiles its own programs: the prediction and the training step."""

import functools

import jax

# Both change XLA's CPU code alone. JAX refuses to call a function with such options inside another `jax.jit`.
_OPTIONS = {
    # Vectors of 512 bits where the processor has them, instead of 256. Base takes 0.86 of the time.
    "xla_cpu_prefer_vector_width": 512,
    # YNNPACK for sums only: Base and a training step take 0.83 to 0.89 of the time. Its matrix products and
    # convolutions are mostly slower than XLA's own. Without its sums a step takes 1.4 times as long.
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE",
}
jit = functools.partial(jax.jit, compiler_options=_OPTIONS)
