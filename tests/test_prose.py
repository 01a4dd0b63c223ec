"""The check of spelling and terms finds what it should."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TERMS = dict(line.split("->") for line in (ROOT / ".ci" / "terms.txt").read_text(encoding="utf-8").splitlines())


@pytest.fixture
def check(tmp_path):
    """A function from the text of a file to what the check prints; nothing if it passes."""
    if importlib.util.find_spec("codespell_lib") is None:
        pytest.skip("codespell is not installed: it is in the extra dev")

    def run(text: str, name: str = "page.md") -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        command = [sys.executable, ROOT / ".ci" / "prose.py", name]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert not done.stderr and (done.returncode == 1) == bool(done.stdout), done.stdout + done.stderr
        return done.stdout

    return run


def test_finds_every_term(check):
    found = check("\n\n".join(f"x {term.capitalize()} y" for term in TERMS))
    for place, term in enumerate(TERMS):
        assert f"page.md:{2 * place + 1}: {term.capitalize()} ==> " in found, term
    assert found.count("==>") == len(TERMS)


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("page.md", "A second run goes\non where it stopped.\n", 1),
        ("page.md", "# A page\n\n- A list\n  resumes to the\n  bit.\n", 4),
        ("code.py", "x = 1\n# A second run goes\n# on where it stopped.\n", 2),
        ("code.py", '"""A second run goes\n\n    on."""\n', None),
        ("page.js", "/** A second run goes\n * on. */\n", 1),
    ],
)
def test_finds_terms_over_line_breaks(check, name, text, line):
    found = check(text, name)
    assert found.startswith(f"{name}:{line}: ") if line else not found
    assert found.count("==>") == (line is not None)


def test_finds_spelling_mistakes(check):
    assert "page.md:1: teh ==> the" in check("In teh picture\n")


def test_accepts_plain_text_in_british_spelling(check):
    assert not check(
        "The run resumes and is bit-exact.\nColours, centres and normalised behaviour.\nIt goes.\n\nOn it.\n"
    )
