"""The code blocks of the documentation's pages."""

import dataclasses
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUN = ("sh", "python")  # the languages whose blocks are run
_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,})(?P<language>[\w+-]*)")
_MARK = re.compile(r"^ *<!-- not run: *(?P<reason>.*?) *-->$")


@dataclasses.dataclass(frozen=True)
class Block:
    """A code block of a page; `line` is that of its first fence, and `not_run` the reason why no test runs it."""

    page: str
    line: int
    language: str
    text: str
    not_run: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[str]:
    """The pages by their path in the repository."""
    files = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")]
    return sorted(path.relative_to(ROOT).as_posix() for path in files)


def blocks_of(page: str) -> list[Block]:
    """The blocks of a page in its order."""
    return parse((ROOT / page).read_text(encoding="utf-8"), page)


def parse(text: str, page: str) -> list[Block]:
    """The blocks of a page's text."""
    blocks, lines = [], text.splitlines()
    place = 0
    while place < len(lines):
        if opened := _FENCE.match(lines[place]):
            end = place + 1
            while end < len(lines) and lines[end].strip() != opened["ticks"]:
                end += 1
            content = [line.removeprefix(opened["indent"]) for line in lines[place + 1 : end]]
            mark = _MARK.match(lines[place - 1]) if place else None
            blocks.append(
                Block(page, place + 1, opened["language"], "\n".join(content) + "\n", mark["reason"] if mark else "")
            )
            place = end
        place += 1
    return blocks


def outside_blocks(page: str) -> str:
    """The text of a page without its blocks."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    for block in blocks_of(page):
        for number in range(block.line - 1, block.line + block.text.count("\n") + 1):
            lines[number] = ""
    return "\n".join(lines)


def marks(page: str) -> int:
    """How many times a page says that a block is not run."""
    return sum("<!-- not run" in line for line in (ROOT / page).read_text(encoding="utf-8").splitlines())
