"""Adds the comments beside a dataclass's fields to the API reference, and shows the plain defaults of config fields."""

import re

import griffe

# Helpers of mamkpd_jax/config.py that make a field: their first argument is its default.
_HELPERS = ("_number", "_choice", "_named")


class Fields(griffe.Extension):
    """A class docstring gets an `Attributes:` section with the comment of each field that has one."""

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


def _comment(lines: list[str], first: int, last: int) -> str:
    """The comment above the lines of a field (numbered from 1) and the one behind them, as a sentence each."""
    above = first - 1
    while lines[above - 1].strip().startswith("#"):
        above -= 1
    parts = [" ".join(line.strip().lstrip("# ") for line in lines[above : first - 1])]
    if behind := re.search(r" {2}# (.+)$", lines[last - 1]):
        parts.append(behind[1])
    return ". ".join(part.rstrip(".") for part in parts if part)
