"""Prints a result as a Markdown table.

mamkpd bench table --result=FILE.json [--columns=NAME,NAME,...]
"""

import json
from pathlib import Path

from absl import flags

from mamkpd_jax.bench.markdown import table
from mamkpd_jax.errors import UserError

_RESULT = flags.DEFINE_string("result", None, "Result file, written by a benchmark's --output.", required=True)
_COLUMNS = flags.DEFINE_list("columns", [], "Columns to show, in this order. Default: all.")


def main() -> None:
    path = Path(_RESULT.value)
    try:
        text = table(json.loads(path.read_bytes()), _COLUMNS.value)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"--result: {path} is not a benchmark result ({error!r}); give another file") from error
    print(text)
