"""The documentation's pages as they are run: one folder for each."""

import dataclasses
import os
import re
import shutil
import signal
import socket
import subprocess
import symtable
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.copying import copy_folder
from tests.documentation import workspace
from tests.documentation.blocks import ROOT, RUN, Block, blocks_of
from tests.documentation.stand_ins import STARTED

_TIMEOUT_S = 600


@dataclasses.dataclass
class Page:
    """A page's folder, and the outcomes of the blocks that have run in it."""

    blocks: list[Block]
    folder: Path
    environment: dict[str, str]
    port: int
    outcomes: dict[int, tuple[int, str]] = dataclasses.field(default_factory=dict)

    def run(self, block: Block) -> tuple[int, str]:
        """The exit status and output of a block, after the page's earlier ones."""
        for earlier in self.blocks:
            if earlier.line <= block.line and earlier.line not in self.outcomes and not earlier.not_run:
                self.outcomes[earlier.line] = self._run(earlier)
        return self.outcomes[block.line]

    def _run(self, block: Block) -> tuple[int, str]:
        text = block.text.replace("127.0.0.1:8000", f"127.0.0.1:{self.port}")
        text = text.replace("localhost:8000", f"localhost:{self.port}")
        if block.language == "sh":
            command = ["bash", "-e", "-o", "pipefail", "-c", text]
        else:
            command = [sys.executable, "-c", self._needed_by(block) + text]
        # Into a file: a server that the block starts would keep a pipe open.
        with open(self.folder / f"output_{block.line}.txt", "w+", encoding="utf-8", newline="\n") as output:
            options = {"stdout": output, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
            try:
                status = subprocess.run(
                    command, cwd=self.folder, env=self.environment, timeout=_TIMEOUT_S, **options
                ).returncode
            except subprocess.TimeoutExpired:
                status = -signal.SIGKILL
                output.write(f"\nno end after {_TIMEOUT_S} s\n")
            output.seek(0)
            return status, re.sub(r"[^\n]*\r", "", output.read())  # without the states of progress bars

    def _needed_by(self, block: Block) -> str:
        """The text of the page's earlier Python blocks that define names that this one takes from them."""
        text, needed = "", _undefined(block.text)
        for earlier in reversed([b for b in self.blocks if b.language == "python" and b.line < block.line]):
            if needed & (defined := _defined(earlier.text)):
                text = earlier.text + text
                needed = (needed - defined) | _undefined(earlier.text)
        return text

    def close(self) -> None:
        """Ends the servers that the page has started."""
        if (self.folder / STARTED).exists():
            for pid in map(int, (self.folder / STARTED).read_text(encoding="utf-8").split()):
                try:
                    os.kill(pid, signal.SIGTERM)
                except ProcessLookupError:
                    continue


def _linked(source: str, target: str) -> None:
    """A copy; pictures, which no command changes, are hard links."""
    (os.link if source.endswith(".jpg") else shutil.copy2)(source, target)


def _symbols(text: str) -> list[symtable.Symbol]:
    return symtable.symtable(text, "block", "exec").get_symbols()


def _defined(text: str) -> set[str]:
    return {symbol.get_name() for symbol in _symbols(text) if symbol.is_assigned() or symbol.is_imported()}


def _undefined(text: str) -> set[str]:
    return {symbol.get_name() for symbol in _symbols(text) if symbol.is_referenced()} - _defined(text)


@pytest.fixture(scope="session")
def template(shared_data, mpii_root, ap10k_root, tmp_path_factory) -> Path:
    """The folder that each page gets a copy of."""
    folder = tmp_path_factory.mktemp("template")
    workspace.fill(folder, shared_data)
    copy_folder(mpii_root, folder / "data" / "mpii")
    copy_folder(ap10k_root, folder / "data" / "ap-10k")
    workspace.train_quickstart(folder, workspace.environment(folder, 0))
    return folder


@pytest.fixture(scope="session")
def page(template, tmp_path_factory) -> Iterator[Callable[[str], Page]]:
    """Returns the page of a name; its folder is made at the first call."""
    made: dict[str, Page] = {}

    def get(name: str) -> Page:
        if name not in made:
            folder = tmp_path_factory.mktemp(Path(name).stem, numbered=True) / "clone"
            shutil.copytree(template, folder, copy_function=_linked)
            workspace.adapt(folder, (ROOT / name).read_text(encoding="utf-8"))
            with socket.socket() as server:
                server.bind(("127.0.0.1", 0))
                port = server.getsockname()[1]
            blocks = [block for block in blocks_of(name) if block.language in RUN]
            made[name] = Page(blocks, folder, workspace.environment(folder, port), port)
        return made[name]

    yield get
    for each in made.values():
        each.close()
