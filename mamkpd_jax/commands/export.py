"""Exports a checkpoint to ONNX or StableHLO, to be run without this package.

mamkpd export --checkpoint=NAME|DIR|FILE --output=FILE.onnx|FILE.stablehlo|DIR [--normalize] [--flip_test] ...

DIR, a new folder, gets model.stablehlo and model.json, which says what the model takes and gives.

The model takes crops, not pictures. A crop has the centre of its box and 1.25 times the box's width and height, and one
side grows to the aspect of the model's input. What lies outside the picture is black.
"""

from pathlib import Path

from absl import flags

from mamkpd_jax import cli, compilation_cache
from mamkpd_jax.artifact.reading import read_artifact
from mamkpd_jax.errors import UserError
from mamkpd_jax.program import Options
from mamkpd_jax.registry import EXPORTS

_CHECKPOINT = cli.define_checkpoint()
_BEST, _EMA = cli.define_weights_choice()
_OUTPUT = flags.DEFINE_string(
    "output", None, "A file NAME.onnx or NAME.stablehlo, or a new folder.", required=True, allow_override=True
)
_NORMALIZE = flags.DEFINE_bool("normalize", False, "Take uint8 RGB images [b, h, w, 3], not normalised ones.")
_FLIP_TEST = flags.DEFINE_bool(
    "flip_test", False, "Average the outputs with those of the mirrored image.", allow_override=True
)
_DECODE = flags.DEFINE_bool("decode", False, "Give points in pixels of the crop and scores, not the head's outputs.")
_PRECISION = flags.DEFINE_string("precision", "fp32", "Of the arithmetic: fp32, and for ONNX fp16 or int8.")
_CACHE = compilation_cache.define_flag()


def main() -> None:
    compilation_cache.enable(_CACHE.value)
    output = Path(_OUTPUT.value)
    form = EXPORTS[output.suffix[1:] or "stablehlo"]  # a folder holds StableHLO
    if _PRECISION.value not in form.precisions:
        raise UserError(f"--precision={_PRECISION.value}: {output} can have {', '.join(form.precisions)}; choose one")
    artifact = read_artifact(_CHECKPOINT.value, best=_BEST.value, ema=_EMA.value)
    options = Options(normalize=_NORMALIZE.value, flip_test=_FLIP_TEST.value, decode=_DECODE.value)
    form.save(artifact, output, options, _PRECISION.value)
    files = list(output.iterdir()) if output.is_dir() else [output]
    print(f"{output}: step {artifact.step}, {sum(file.stat().st_size for file in files) / 2**20:.1f} MiB")
