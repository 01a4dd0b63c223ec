"""How the project compiles its own programs: the prediction and the training step."""

import functools

import jax

# Of XLA's CPU code; no other device is affected.
_OPTIONS = {
    # Vectors of 512 bits where the processor has them, and not 256. Base takes 0.86 of the time.
    "xla_cpu_prefer_vector_width": 512,
    # XLA's YNNPACK library for sums alone: Base and a training step take 0.87 of the time. Its matrix products and
    # convolutions are slower than XLA's own; without its sums a step takes 1.4 times as long.
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_REDUCE",
}
jit = functools.partial(jax.jit, compiler_options=_OPTIONS)
