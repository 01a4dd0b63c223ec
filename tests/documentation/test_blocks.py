"""Every command and every Python example of README.md and docs/ runs, in the page's order, on small real data.

A block that can't run here has the line `<!-- not run: REASON -->` directly above it. It is parsed all the same.
"""

import json
import re
import shutil
import subprocess
import sys

import pytest

from tests.documentation import shell
from tests.documentation.blocks import ROOT, RUN, blocks_of, marks, outside_blocks, pages, parse
from tests.documentation.stand_ins import ADDED

_ALL = [block for page in pages() for block in blocks_of(page)]
_CODE = [block for block in _ALL if block.language in RUN]
_SHELL = [block for block in _CODE if block.language == "sh"]
# Shell under another name would not be run.
_LANGUAGES = {*RUN, "text", "json", "yaml", "toml", "bibtex", "nginx", "console", "c", "cpp", "javascript", "html"}
_INLINE = re.compile(r"`(mamkpd\s[^`]+)`")
_WRONG = "there is no|Unknown command line flag|unexpected argument"
# The flags of `--config.SECTION.FIELD` exist only beside a config.
_CONFIGS = {("train",): ("--config=quickstart",)}
_SHORTENED = {words: (*words, *_CONFIGS.get(words, ()), *flags) for words, flags in ADDED.items()}


def _messages(commands: list[list[str]]) -> list[str]:
    """What the programs print about commands that they refuse."""
    script = ROOT / "tests" / "documentation" / "check_flags.py"
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=ROOT,
        input=json.dumps(commands),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _inline_commands() -> dict[tuple[str, ...], str]:
    """The commands in the pages' sentences, with a page that has each. `...` and NAME are places to fill in."""
    commands = {}
    for page in pages():
        for text in _INLINE.findall(outside_blocks(page)):
            for words in shell.package_commands(text):
                if "..." not in text and words[:1] != ["NAME"]:
                    commands.setdefault(tuple(words), page)
    return commands


@pytest.fixture(scope="module")
def refused() -> dict[tuple[str, ...], str]:
    """The message of each documented command, by its words; empty where it is accepted."""
    commands = {tuple(words) for block in _SHELL for words in shell.package_commands(block.text)}
    ordered = sorted(commands | set(_inline_commands()) | set(_SHORTENED.values()))
    return dict(zip(ordered, _messages([list(words) for words in ordered]), strict=True))


@pytest.mark.parametrize("block", _SHELL, ids=str)
def test_shell_block_parses(block, refused):
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    checked = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stderr
    for words in shell.package_commands(block.text):
        assert not refused[tuple(words)], f"{block}: mamkpd {' '.join(words)}\n{refused[tuple(words)]}"


@pytest.mark.parametrize("block", [block for block in _CODE if block.language == "python"], ids=str)
def test_python_block_compiles(block):
    compile(block.text, str(block), "exec")


@pytest.mark.slow
@pytest.mark.parametrize("block", _CODE, ids=str)
def test_block_runs(block, request):
    if block.not_run:
        pytest.skip(f"not run: {block.not_run}")
    status, output = request.getfixturevalue("page")(block.page).run(block)
    assert status == 0, f"{block} ended with status {status}\n{block.text}\n{output}"


@pytest.mark.parametrize("page", pages())
def test_blocks_have_known_languages(page):
    unknown = [str(block) for block in blocks_of(page) if block.language not in _LANGUAGES]
    assert not unknown, f"expected sh, python or text, or another of {sorted(_LANGUAGES)}: {unknown}"


@pytest.mark.parametrize("page", pages())
def test_each_mark_belongs_to_a_block(page):
    marked = [block for block in blocks_of(page) if block.not_run]
    assert all(block.language in RUN for block in marked)
    assert len(marked) == marks(page), "expected `<!-- not run: REASON -->` directly above a sh or python block"


def test_inline_commands_have_existing_flags(refused):
    """Required flags may be missing: a sentence need not repeat them."""
    for words, page in _inline_commands().items():
        assert not re.search(_WRONG, refused[words]), f"{page}: mamkpd {' '.join(words)}\n{refused[words]}"


def test_a_wrong_flag_is_found():
    page = "```sh\nmamkpd predict --inputs=a.jpg\nmamkpd predct\ndocker run -v m:/c mamkpd eval --best   # no\n```\n"
    (block,) = parse(page, "page.md")
    commands = shell.package_commands(block.text)
    assert commands == [["predict", "--inputs=a.jpg"], ["predct"], ["eval", "--best"]]
    wrong, unknown, right = _messages([*commands[:2], ["predict", "--input=a.jpg"]])
    assert "Unknown command line flag 'inputs'" in wrong
    assert "did you mean 'predict'" in unknown
    assert not right


@pytest.mark.parametrize("words", _SHORTENED, ids=" ".join)
def test_added_flags_exist(words, refused):
    message = refused[_SHORTENED[words]]
    assert not re.search(_WRONG, message), message


def test_a_mark_keeps_its_reason():
    page = "1. Do:\n\n   <!-- not run: needs a GPU -->\n   ```sh\n   make gpu\n   ```\n\n```python\n1\n```\n"
    first, second = parse(page, "page.md")
    assert (first.line, first.text, first.not_run) == (4, "make gpu\n", "needs a GPU")
    assert (second.line, second.not_run) == (8, "")
