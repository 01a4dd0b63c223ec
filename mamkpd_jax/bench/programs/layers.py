"""Times and checks the model's convolutions beside XLA's general convolution.

mamkpd bench layers --output=benchmarks/results/layers_cpu.json
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from absl import flags
from flax import nnx
from jax import Array, lax

from mamkpd_jax.bench import measure
from mamkpd_jax.model.layers import Deconv, DepthwiseConv, ImageConv

_BATCH = flags.DEFINE_integer("batch", 2, "Batch size.", lower_bound=1)

_convolve = functools.partial(lax.conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC"))
_FP32 = jnp.dtype("float32")


Function = Callable[[Array, Array], Array]  # of a feature map and a kernel

_image = functools.partial(_convolve, window_strides=(2, 2), padding=((3, 3), (3, 3)))
_deconv = functools.partial(_convolve, window_strides=(1, 1), padding=((2, 2), (2, 2)), lhs_dilation=(2, 2))


def _depthwise(x: Array, kernel: Array, stride: int = 1) -> Array:
    d = x.shape[-1]
    return _convolve(x, kernel.reshape(3, 3, 1, d), (stride, stride), ((1, 1), (1, 1)), feature_group_count=d)


def _ours(layer: nnx.Module) -> Function:
    graphdef, _ = nnx.split(layer)
    return lambda x, kernel: nnx.merge(graphdef, {"kernel": kernel}, copy=True)(x)


def cases() -> dict[str, tuple[tuple[int, ...], Any, Function]]:
    """By name: input shape (h, w, c), the model's layer, and its equivalent by XLA's convolution. Base's shapes."""
    make = functools.partial(DepthwiseConv, use_bias=False, dtype=_FP32, rngs=nnx.Rngs(0))
    image = functools.partial(ImageConv, dtype=_FP32, rngs=nnx.Rngs(0))
    return {
        "image": ((256, 192, 3), image(96), _image),
        "image, a quarter of the width": ((256, 192, 3), image(24), _image),
        "depth-wise, stem": ((128, 96, 96), make(96), _depthwise),
        "depth-wise, down to stage 1": ((128, 96, 96), make(96, stride=2), functools.partial(_depthwise, stride=2)),
        "depth-wise, stage 2": ((32, 24, 192), make(192), _depthwise),
        "deconvolution, second": ((32, 24, 96), Deconv(96, 96, dtype=_FP32, rngs=nnx.Rngs(0)), _deconv),
    }


def main() -> None:
    rows, lines = [], measure.Lines("layer", "direction", "ours.median_ms", "general.median_ms", "ratio")
    for name, (shape, layer, general) in cases().items():
        x = jax.random.normal(jax.random.key(0), (_BATCH.value, *shape))
        kernel = jax.random.normal(jax.random.key(1), layer.kernel.shape)
        forms = {"ours": _ours(layer), "general": general}
        error = jnp.max(jnp.abs(forms["ours"](x, kernel) - general(x, kernel)))
        for direction in ("forward", "forward+backward"):
            calls = {form: _call(function, direction, x, kernel) for form, function in forms.items()}
            times = {k: measure.summary_ms(v) for k, v in measure.times_ms(calls, measure.REPEATS.value).items()}
            ratio = times["general"]["median_ms"] / times["ours"]["median_ms"]
            rows.append({"layer": name, "direction": direction, **times, "ratio": ratio, "largest_error": float(error)})
            lines.print(rows[-1])
    measure.write(rows, batch=_BATCH.value)


def _call(function: Function, direction: str, x: Array, kernel: Array) -> Callable[[int], Any]:
    gradients = jax.grad(lambda *arrays: jnp.sum(jnp.square(function(*arrays))), argnums=(0, 1))
    compiled = jax.jit(function if direction == "forward" else gradients)
    return lambda _: compiled(x, kernel)
