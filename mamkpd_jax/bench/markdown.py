"""Rows of a result as a table in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from mamkpd_jax.errors import UserError


def table(result: Mapping[str, Any], columns: Sequence[str] = ()) -> str:
    """A result's rows in Markdown; numbers with four digits.

    Args:
        columns: names of what to show of the rows; all if empty. What a row lacks is an empty cell.

    Raises:
        UserError: the rows have no such column.
    """
    rows = result["rows"]
    if isinstance(rows, Mapping):
        rows = [{"part": name, **row} for name, row in rows.items()]
    known = list(dict.fromkeys(name for row in rows for name in row))  # a contender that failed has other columns
    columns = columns or known
    if unknown := set(columns) - set(known):
        raise UserError(f"the result has no column {min(unknown)!r}; it has {', '.join(known)}")
    lines = [columns, ["---"] * len(columns), *([_cell(row.get(name, "")) for name in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
