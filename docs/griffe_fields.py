"""Adapts docstrings for the API reference: comments beside a dataclass's fields, and arguments described together."""

import re

import griffe

# Helpers of mamkpd_jax/config.py that make a field: their first argument is its default.
_HELPERS = ("_number", "_choice", "_named")


# The entry of arguments that are described together in an `Args:` section: `best, ema: TEXT`.
_TOGETHER = re.compile(r"^( {4})(\w+(?:, \w+)+)(: .+(?:\n {5,}.+)*)", re.MULTILINE)


class Fields(griffe.Extension):
    """Adds an `Attributes:` section with the fields' comments to class docstrings, and an entry for each argument."""

    def on_function_instance(self, *, func: griffe.Function, **_: object) -> None:
        if func.docstring and "Args:\n" in func.docstring.value:
            before, mark, entries = func.docstring.value.partition("Args:\n")
            entries = _TOGETHER.sub(_one_by_one, entries)
            func.docstring.value = before + mark + entries

    def on_class_members(self, *, cls: griffe.Class, **_: object) -> None:
        if not cls.docstring or not any(str(d.value).startswith("dataclasses.dataclass") for d in cls.decorators):
            return
        lines = cls.filepath.read_text(encoding="utf-8").splitlines()
        described = []
        for name, field in cls.members.items():
            if not isinstance(field, griffe.Attribute) or "property" in field.labels:
                continue
            if isinstance(field.value, griffe.ExprCall) and str(field.value.function) in _HELPERS:
                field.value = field.value.arguments[0]
            if comment := _comment(lines, field.lineno, field.endlineno):
                described.append(f"    {name}: {comment}")
        if described:
            cls.docstring.value += "\n\nAttributes:\n" + "\n".join(described)


def _one_by_one(entry: re.Match[str]) -> str:
    return "\n".join(f"{entry[1]}{name}{entry[3]}" for name in entry[2].split(", "))


def _comment(lines: list[str], first: int, last: int) -> str:
    """The comment above the lines of a field (numbered from 1) and the one behind them, as a sentence each."""
    above = first - 1
    while lines[above - 1].strip().startswith("#"):
        above -= 1
    parts = [" ".join(line.strip().lstrip("# ") for line in lines[above : first - 1])]
    if behind := re.search(r" {2}# (.+)$", lines[last - 1]):
        parts.append(behind[1])
    return ". ".join(part.rstrip(".") for part in parts if part)
