"""Formats result rows as Markdown tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from mamkpd_jax.errors import UserError


def table(result: Mapping[str, Any], columns: Sequence[str] = ()) -> str:
    """A result's rows as a Markdown table; a missing value is an empty cell.

    Args:
        result: the content of a result file.
        columns: the columns to show, in this order; by default all.

    Raises:
        UserError: no row has one of the columns.
    """
    rows = result["rows"]
    if isinstance(rows, Mapping):
        rows = [{"part": name, **row} for name, row in rows.items()]
    known = list(dict.fromkeys(name for row in rows for name in row))  # a failed contender has other columns
    columns = columns or known
    if unknown := set(columns) - set(known):
        raise UserError(f"the result has no column {min(unknown)!r}; it has {', '.join(known)}")
    lines = [columns, ["---"] * len(columns), *([cell(row.get(name, "")) for name in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(value: Any) -> str:
    """The text of a value; floats have four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def flat(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A row with its nested values as columns, named such as "forward.median_ms"."""
    values: dict[str, Any] = {}
    for name, value in row.items():
        values |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return values
