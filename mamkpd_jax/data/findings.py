"""Problems of a user's file, collected so that one report lists them all."""

import dataclasses
import reprlib
from pathlib import Path
from typing import Any, Literal

from mamkpd_jax.errors import UserError

# Refused: nothing is trained on the file. Derived: a value is made from others. Ignored: an entry is left out.
Outcome = Literal["refused", "derived", "ignored", "noted"]
OUTCOMES: tuple[Outcome, ...] = ("refused", "derived", "ignored", "noted")
_SHOWN = 3


@dataclasses.dataclass(slots=True)
class Finding:
    """One kind of problem, with its count."""

    outcome: Outcome
    what: str  # the field, and what it should be or what is done about it
    count: int = 0
    where: list[str] = dataclasses.field(default_factory=list)  # the first places

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.where) else ""
        return f"{self.count} x {self.what} ({', '.join(self.where)}{more})"


class Findings:
    """The problems of a file by kind, in the order in which they were found."""

    def __init__(self, path: Path):
        self._path = path
        self._found: dict[tuple[Outcome, str], Finding] = {}

    def add(self, outcome: Outcome, what: str, where: str) -> None:
        """Counts a problem of a kind; the first places are kept."""
        finding = self._found.setdefault((outcome, what), Finding(outcome, what))
        finding.count += 1
        if len(finding.where) < _SHOWN:
            finding.where.append(where)

    def refuse(self, entry: str, field: str, found: str, expected: str) -> None:
        """Counts a field that can't be used."""
        self.add("refused", f"{field}: expected {expected}", f"{entry} has {found}")

    def of(self, outcome: Outcome) -> list[Finding]:
        return [finding for finding in self._found.values() if finding.outcome == outcome]

    def lines(self) -> list[str]:
        """A line for each kind that does not stop a training."""
        return [f"{outcome}: {finding}" for outcome in OUTCOMES[1:] for finding in self.of(outcome)]

    def check(self) -> None:
        """Raises UserError with the first problem that is refused."""
        refused = self.of("refused")
        if refused:
            n, first = sum(finding.count for finding in refused), refused[0]
            command = f"mamkpd check-data --annotations={self._path} --images=DIR"
            others = f" (the first of {n} problems; {command} lists all)"
            raise UserError(f"{self._path}: {first.where[0]} as {first.what}{others if n > 1 else ''}")


def shown(value: Any) -> str:
    """A value in short."""
    return "nothing" if value is None else reprlib.repr(value)
