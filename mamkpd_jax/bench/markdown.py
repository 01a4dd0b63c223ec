"""Rows of a result as a table in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from mamkpd_jax.errors import UserError


def table(result: Mapping[str, Any], columns: Sequence[str] = ()) -> str:
    """A result's rows in Markdown: the columns of these names, or all. What a row lacks is an empty cell."""
    rows = result["rows"]
    if isinstance(rows, Mapping):
        rows = [{"part": name, **row} for name, row in rows.items()]
    known = list(dict.fromkeys(name for row in rows for name in row))  # a contender that failed has other columns
    columns = columns or known
    if unknown := set(columns) - set(known):
        raise UserError(f"the result has no column {min(unknown)!r}; it has {', '.join(known)}")
    lines = [columns, ["---"] * len(columns), *([cell(row.get(name, "")) for name in columns] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(value: Any) -> str:
    """The text of a value; numbers have four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def flat(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A row without tables inside: their values have names such as "forward.median_ms"."""
    values: dict[str, Any] = {}
    for name, value in row.items():
        values |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return values
