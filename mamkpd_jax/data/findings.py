"""Collects the problems of a user's file, so that one report lists them all."""

import dataclasses
import reprlib
from pathlib import Path
from typing import Any, Literal

from mamkpd_jax.errors import UserError

# Refused: the file can't be used. Derived: a value is computed from others. Ignored: an entry is left out.
# Noted: unusual, but used.
Outcome = Literal["refused", "derived", "ignored", "noted"]
OUTCOMES: tuple[Outcome, ...] = ("refused", "derived", "ignored", "noted")
_MAX_PLACES = 3


@dataclasses.dataclass(slots=True)
class Finding:
    """One kind of problem, with the number of its occurrences."""

    outcome: Outcome
    what: str  # the field, and the expected value or what is done about it
    count: int = 0
    where: list[str] = dataclasses.field(default_factory=list)  # the first places where it occurs

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.where) else ""
        return f"{self.count} x {self.what} ({', '.join(self.where)}{more})"


class Findings:
    """The problems of a file, grouped by kind, in order of first occurrence."""

    def __init__(self, path: Path):
        self._path = path
        self._found: dict[tuple[Outcome, str], Finding] = {}

    def add(self, outcome: Outcome, what: str, where: str) -> None:
        """Counts one more problem of a kind, and keeps its place if it is among the first."""
        finding = self._found.setdefault((outcome, what), Finding(outcome, what))
        finding.count += 1
        if len(finding.where) < _MAX_PLACES:
            finding.where.append(where)

    def refuse(self, entry: str, field: str, found: str, expected: str) -> None:
        """Counts a field whose value can't be used.

        Args:
            entry: the entry that has it, such as "annotation 3".
            found: its value in short.
            expected: the values that are allowed.
        """
        self.add("refused", f"{field}: expected {expected}", f"{entry} has {found}")

    def of(self, outcome: Outcome) -> list[Finding]:
        """The problems with this outcome."""
        return [finding for finding in self._found.values() if finding.outcome == outcome]

    def lines(self) -> list[str]:
        """A line for each kind of problem that is not refused."""
        return [f"{outcome}: {finding}" for outcome in OUTCOMES[1:] for finding in self.of(outcome)]

    def check(self) -> None:
        """Raises UserError with the first refused problem, if there is any."""
        refused = self.of("refused")
        if refused:
            n, first = sum(finding.count for finding in refused), refused[0]
            command = f"mamkpd check-data --annotations={self._path} --images=DIR"
            others = f" (the first of {n} problems; {command} lists all)"
            raise UserError(f"{self._path}: {first.where[0]} as {first.what}{others if n > 1 else ''}")


def shown(value: Any) -> str:
    """A value as short text for messages."""
    return "nothing" if value is None else reprlib.repr(value)
