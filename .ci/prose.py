"""Checks spelling and terms: `python .ci/prose.py [FILE ...]`, of all tracked files by default.

codespell finds misspelt words and the terms of terms.txt. It reads line by line, and a term may be broken between two
lines. So it runs a second time, on copies in which each line is the end of that line and the start of the next.
"""

import itertools
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_TERMS = _ROOT / ".ci" / "terms.txt"
# Words on each side of a line's end.
_WORDS = 3
# What may start a line: of a comment, a quote or a list.
_START = re.compile(r"^\s*(?:#+|//|[*>-])?\s+|^#$")
_FOUND = re.compile(r"(?:\./)?(?P<file>.+?):(?P<line>\d+): (?P<term>.+?) ==> (?P<better>.+)")


def main(names: list[str]) -> int:
    """Prints what was found; the exit status is 1 if there is something."""
    if not names:
        listed = subprocess.run(["git", "ls-files"], check=True, capture_output=True, text=True)
        names = listed.stdout.splitlines()
    texts = {name: text for name in names if (text := _text(Path(name))) is not None}
    found = _codespell(Path.cwd(), texts, rf"{_phrases()}|[\w\-'’]+")
    texts.pop("pyproject.toml", None)  # codespell would read its options from the copy
    with tempfile.TemporaryDirectory() as folder:
        for name, text in texts.items():
            copy = Path(folder, name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(_line_ends(text), encoding="utf-8")
        broken = _codespell(Path(folder), texts, _phrases())
    # A term near a line's end, but within the line, is found both times.
    found |= {key: line for key, line in broken.items() if not {key, (key[0], key[1] + 1, key[2])} & set(found)}
    for _, line in sorted(found.items()):
        print(line)
    if found:
        print(f"{len(found)} found; use another term, or change .ci/terms.txt or [tool.codespell] in pyproject.toml")
    return bool(found)


def _text(path: Path) -> str | None:
    """The text of a file; None for a link, a folder or a binary file."""
    if path.is_symlink() or not path.is_file():
        return None
    content = path.read_bytes()
    return None if b"\0" in content else content.decode("utf-8", errors="replace")


def _phrases() -> str:
    """A pattern for the terms of several words, the longest first."""
    terms = [line.partition("->")[0] for line in _TERMS.read_text(encoding="utf-8").splitlines()]
    phrases = sorted((re.escape(term) for term in terms if " " in term), key=len, reverse=True)
    return rf"\b(?i:{'|'.join(phrases)})\b"


def _line_ends(text: str) -> str:
    """For each line its last words and the first ones of the next line; nothing at a paragraph's end."""
    lines = [_START.sub("", line).split() for line in text.splitlines()]
    pairs = itertools.pairwise([*lines, []])
    return "\n".join(" ".join(end[-_WORDS:] + start[:_WORDS]) if start else "" for end, start in pairs)


def _codespell(folder: Path, names: Iterable[str], pattern: str) -> dict[tuple[str, int, str], str]:
    """What codespell finds in files of a folder: its lines by file, line and lower-case term."""
    options = ["--dictionary=-", f"--dictionary={_TERMS}", f"--toml={_ROOT / 'pyproject.toml'}", f"--regex={pattern}"]
    command = [sys.executable, "-m", "codespell_lib", "--quiet-level=3", *options, "--", *names]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.stderr or done.returncode not in (0, 65):
        sys.exit(f"codespell failed: {done.stderr}")
    matches = [_FOUND.fullmatch(line) for line in done.stdout.splitlines()]
    return {(m["file"], int(m["line"]), m["term"].lower()): m[0] for m in matches if m}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
