"""Converts weights between run directories, .safetensors files and PyTorch's files.

mamkpd convert --checkpoint=NAME|DIR --output=model.safetensors|model.pth [--dtype=bfloat16]
mamkpd convert --input=model.safetensors|model.pth --output=DIR|model.safetensors|model.pth
"""

from pathlib import Path

from absl import flags

from mamkpd_jax import cli
from mamkpd_jax.artifact.checkpoints import write_checkpoint
from mamkpd_jax.artifact.reading import check_suffix, read_artifact
from mamkpd_jax.artifact.weight_files import DTYPES, SUFFIXES, load, save
from mamkpd_jax.errors import UserError

_CHECKPOINT = flags.DEFINE_string(
    "checkpoint", None, "A model's name or a run directory, to be written to a file.", allow_override=True
)
_BEST, _EMA = cli.define_weights_choice()
_INPUT = flags.DEFINE_string(
    "input",
    None,
    "A .safetensors, .pth or .pt file, to be written to a folder or to the other format.",
    allow_override=True,
)
_DTYPE = flags.DEFINE_enum(
    "dtype", "float32", DTYPES, "Of the weights of --checkpoint in a .safetensors file.", allow_override=True
)
_OUTPUT = flags.DEFINE_string("output", None, "The file or the folder to write.", required=True, allow_override=True)


def main() -> None:
    checkpoint, file, output = _CHECKPOINT.value, _INPUT.value, Path(_OUTPUT.value)
    if checkpoint is not None and file is None:
        if output.suffix not in SUFFIXES:
            raise UserError(f"{output} has none of the suffixes {', '.join(SUFFIXES)}; rename it")
        if _DTYPE.value != "float32" and output.suffix != ".safetensors":
            raise UserError(
                f"{output} can't hold {_DTYPE.value} weights; name a .safetensors file, or leave out --dtype"
            )
        artifact = read_artifact(checkpoint, best=_BEST.value, ema=_EMA.value)
        save(artifact, output, _DTYPE.value)
    elif file is not None and checkpoint is None:
        check_suffix(Path(file))
        if flags.FLAGS["best"].present or flags.FLAGS["ema"].present:
            raise UserError("--best and --ema choose weights of a run directory; leave them out with --input")
        artifact = load(Path(file))
        write = save if output.suffix in SUFFIXES else write_checkpoint
        write(artifact, output)
    else:
        raise UserError("give either --checkpoint=NAME|DIR or --input=FILE")
    print(f"{output}: the weights of step {artifact.step}")
