"""Finds the module for a name in a config or on the command line, or for a file suffix.

To add a head, data set, metric, scan, export format or command, add one file to its package: the file's name is the
name. Modules are imported on first use, so that listing names costs nothing.
"""

import ast
import importlib.util
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mamkpd_jax.errors import UserError


class Registry:
    """Entries by name: one attribute of each public module of a package, and those that `add` adds.

    Args:
        field: the field or flag that the names are for, as messages call it, such as "config.data.dataset".
        package: the package's name; modules whose names begin with "_" are not listed.
        attribute: the name of the attribute that is a module's entry.
        separators: characters that separate a name from parameters for its entry, such as "@" in "pck_torso@0.2".
    """

    def __init__(self, field: str, package: str, attribute: str, separators: str = ""):
        self._field, self._package, self._attribute = field, package, attribute
        self._separators = separators
        self._added: dict[str, Any] = {}

    def add(self, name: str, entry: Any) -> None:
        """Adds an entry for the rest of the process, for example when the module that defines it is imported."""
        self._added[name] = entry

    def names(self) -> list[str]:
        """All names, those of modules first."""
        path = importlib.import_module(self._package).__path__
        return [m.name for m in pkgutil.iter_modules(path) if not m.name.startswith("_")] + sorted(self._added)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def summaries(self) -> str:
        """A line for each module: its name, and the first line of its docstring, read without importing it."""
        lines = []
        for name in self.names():
            spec = importlib.util.find_spec(f"{self._package}.{name}")
            assert spec and spec.origin
            text = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
            lines.append(f"  {name.replace('_', '-'):20}{text.partition(chr(10))[0]}")
        return "\n".join(lines)

    def check(self, name: str) -> None:
        """Raises UserError if there is no entry of this name."""
        if self._kind(name) not in self.names():
            raise UserError(f"{self._field} is {name!r}; expected one of {', '.join(self.names())}")

    def __getitem__(self, name: str) -> Any:
        """The entry; raises UserError if there is none."""
        self.check(name)
        kind = self._kind(name)
        if kind in self._added:
            return self._added[kind]
        module = importlib.import_module(f"{self._package}.{kind}")
        if not hasattr(module, self._attribute):
            raise UserError(f"{module.__file__} has no {self._attribute}; define it, as {self._field} is {name!r}")
        return getattr(module, self._attribute)

    def _kind(self, name: str) -> str:
        """The name without its parameters."""
        return re.split(f"[{self._separators}]", name)[0] if self._separators else name


HEADS = Registry("config.head.kind", "mamkpd_jax.heads", "HEAD")
DATASETS = Registry("config.data.dataset", "mamkpd_jax.data.datasets", "DATASET")
SCANS = Registry("config.model.scan", "mamkpd_jax.ops.selective_scan.implementations", "IMPLEMENTATION")
METRICS = Registry("config.eval.metrics", "mamkpd_jax.evaluation.metrics", "metric", separators="_@")
EXPORTS = Registry("the suffix of --output, none for a folder,", "mamkpd_jax.export.formats", "FORMAT")
IMPORTS = Registry("--from", "mamkpd_jax.data.imports", "READ")
COMMANDS = Registry("the command", "mamkpd_jax.commands", "main")
BENCHES = Registry("the bench", "mamkpd_jax.bench.programs", "main")
