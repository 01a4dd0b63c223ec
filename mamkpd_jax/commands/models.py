"""Lists the models that are known by name, or adds one.

mamkpd models
mamkpd models --add=NAME --checkpoint=DIR|FILE|hf://OWNER/NAME

An added model is copied to the user's folder: $MAMKPD_MODELS, or one in the user's cache folder. Every --checkpoint and
`Predictor.from_pretrained` then take its name.
"""

from absl import flags

from mamkpd_jax import cli
from mamkpd_jax.artifact.named import add, names, read_card
from mamkpd_jax.artifact.reading import read_artifact
from mamkpd_jax.errors import UserError

_ADD = flags.DEFINE_string("add", None, "The new model's name; one of the user's models of that name is replaced.")
_CHECKPOINT = cli.define_checkpoint("")
_BEST, _EMA = cli.define_weights_choice()

_COLUMNS = ("name", "size", "finds", "speed", "score")  # the last three are fields of a card
_WIDTHS = (12, 10, 28, 26, 0)


def main() -> None:
    if _ADD.value is None:
        for row in (_COLUMNS, *map(_row, names())):
            print("".join(f"{cell:{width}}" for cell, width in zip(row, _WIDTHS, strict=True)).rstrip())
    elif not _CHECKPOINT.value:
        raise UserError("--checkpoint is missing; give the model that --add names")
    else:
        artifact = read_artifact(_CHECKPOINT.value, best=_BEST.value, ema=_EMA.value)
        print(f"{_ADD.value}: {add(_ADD.value, artifact)}")


def _row(name: str) -> list[str]:
    card = read_card(name)
    size = f"{card.path.stat().st_size / 2**20:.1f} MiB" if card.path.exists() else "missing"
    return [name, size, *(str(card.about.get(field, "-")) for field in _COLUMNS[2:])]
