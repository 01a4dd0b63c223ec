"""Prints parameters and multiply-accumulates (MACs) of every variant, beside the paper's values.

mamkpd complexity [--format=table|json]
"""

import json

from absl import flags

from mamkpd_jax.complexity import format_table, rows

_FORMAT = flags.DEFINE_enum("format", "table", ["table", "json"], "Output format.", allow_override=True)


def main() -> None:
    table = rows()
    print(json.dumps(table, indent=1) if _FORMAT.value == "json" else format_table(table))
