"""A result as a table of README.md: python -m mamkpd_jax.bench table --result=FILE.json [--columns=NAME,NAME,...]"""

import json
from pathlib import Path

from absl import flags

from mamkpd_jax.bench.markdown import table

_RESULT = flags.DEFINE_string("result", None, "A file that a bench wrote by --output.", required=True)
_COLUMNS = flags.DEFINE_list("columns", [], "What of its rows is shown, in this order; by default all.")


def main() -> None:
    print(table(json.loads(Path(_RESULT.value).read_bytes()), _COLUMNS.value))
