"""Prints a result as a table in Markdown.

mamkpd bench table --result=FILE.json [--columns=NAME,NAME,...]
"""

import json
from pathlib import Path

from absl import flags

from mamkpd_jax.bench.markdown import table
from mamkpd_jax.errors import UserError

_RESULT = flags.DEFINE_string("result", None, "A file that a bench wrote by --output.", required=True)
_COLUMNS = flags.DEFINE_list("columns", [], "What of its rows is shown, in this order; by default all.")


def main() -> None:
    path = Path(_RESULT.value)
    try:
        text = table(json.loads(path.read_bytes()), _COLUMNS.value)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"--result names {path}, no result of a bench ({error!r}); give a file of --output") from error
    print(text)
