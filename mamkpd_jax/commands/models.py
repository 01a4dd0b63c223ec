"""Lists the named models, or adds one.

mamkpd models
mamkpd models --add=NAME --checkpoint=DIR|FILE|hf://OWNER/NAME

An added model is copied to the user's folder: $MAMKPD_MODELS, or one in the user's cache folder. Every --checkpoint and
`Predictor.from_pretrained` then accept its name. To remove it, delete its files there.
"""

from absl import flags

from mamkpd_jax import cli
from mamkpd_jax.artifact.named import add, check_new, names, read_card
from mamkpd_jax.artifact.reading import read_artifact
from mamkpd_jax.errors import UserError

_ADD = flags.DEFINE_string("add", None, "The new model's name. It replaces a model that you added under this name.")
_CHECKPOINT = cli.define_checkpoint("")
_BEST, _EMA = cli.define_weights_choice()

_COLUMNS = ("name", "size", "finds", "speed", "score")  # the last three are fields of a card


def main() -> None:
    if _ADD.value is None:
        rows = [_COLUMNS, *map(_row, names())]
        widths = [max(map(len, column)) + 2 for column in zip(*rows, strict=True)]
        for row in rows:
            print("".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    elif not _CHECKPOINT.value:
        raise UserError("--checkpoint is missing; give the model that --add names")
    else:
        check_new(_ADD.value)
        artifact = read_artifact(_CHECKPOINT.value, best=_BEST.value, ema=_EMA.value)
        print(f"{_ADD.value}: {add(_ADD.value, artifact)}")


def _row(name: str) -> list[str]:
    try:
        card = read_card(name)
        size = f"{card.path.stat().st_size / 2**20:.1f} MiB"
    except (UserError, OSError):
        return [name, "damaged", *["-"] * (len(_COLUMNS) - 2)]
    return [name, size, *(str(card.about.get(field, "-")) for field in _COLUMNS[2:])]
