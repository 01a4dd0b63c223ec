"""Finds the picture files of an input."""

import dataclasses
import glob
import importlib.util
import itertools
import os
from collections import Counter
from pathlib import Path

from absl import logging

from mamkpd_jax.errors import UserError
from mamkpd_jax.inference import heic, sources
from mamkpd_jax.inference.animations import animated_frames
from mamkpd_jax.inference.images import SUFFIXES

# What a run writes into the output folder.
POSES, DRAWN, RESULTS, RUN = "poses", "pictures", "results.json", "run.json"
_AS_INPUT = " (give it as --input)"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pictures:
    """Picture files: a common folder, and their names relative to it."""

    folder: Path
    names: tuple[str, ...]

    def path(self, name: str) -> Path:
        """The path of the picture with this name."""
        return self.folder / name


def find_pictures(pattern: str, output: Path | None = None, *, flag: str = "input") -> Pictures:
    """The picture files of a path, a folder and its subfolders, or a glob, sorted.

    The log counts skipped files. Results of earlier runs are left out, below a folder and where a wildcard matches
    them.

    Args:
        output: the output folder; results of an earlier run in it are left out.
        flag: the name of the flag in messages.

    Raises:
        UserError: there is no picture, or all pictures are results in `output`.
    """
    path, skipped = Path(pattern), Counter()
    if pattern and path.is_dir():  # Path("") would be the working directory
        found = _below(path, skipped)
    elif path.is_file():
        found = [path]
    else:
        n_fixed = len(list(itertools.takewhile(lambda part: not glob.has_magic(part), path.parts)))
        found = [file for file in map(Path, glob.glob(pattern, recursive=True)) if file.is_file()]
        if not {POSES, DRAWN} & set(path.parts[n_fixed:]):  # runs/*/pictures/*.jpg asks for drawings
            found = [file for file in found if not _is_result(file, n_fixed)]
        found = [file for file in found if not _left_out(file, skipped, known_kinds=False)]
    if output is not None:
        found = _without_results(found, output, f"--{flag}={pattern}")
    others = ", ".join(f"{n} {kind}" for kind, n in skipped.most_common())
    if flag != "input":  # programs with other flags take no videos
        others = others.replace(_AS_INPUT, "")
    if not found:
        others = f"; there are {others}" if others else ""
        raise UserError(
            f"--{flag}={pattern}: no picture found; give a picture, a folder or a glob ({', '.join(SUFFIXES)}){others}"
        )
    if others:
        logging.info("skipped: %s", others)
    found = sorted(set(found))
    folder = path if path.is_dir() else Path(os.path.commonpath([file.parent for file in found]))
    return Pictures(folder=folder, names=tuple(file.relative_to(folder).as_posix() for file in found))


def _below(folder: Path, skipped: Counter[str]) -> list[Path]:
    """The pictures below a folder, except in hidden folders, folders of results and links to folders."""
    found = []

    def unreadable(_: OSError) -> None:
        skipped["folder that can't be read"] += 1

    for parent, folders, files in os.walk(folder, onerror=unreadable):
        here = Path(parent)
        skipped[f"linked folder{_AS_INPUT}"] += sum((here / name).is_symlink() for name in folders)
        is_run = has_results(here)
        folders[:] = [n for n in folders if not n.startswith(".") and not (is_run and n in (POSES, DRAWN))]
        own = (RUN, RESULTS) if is_run else ()
        found += [here / name for name in files if name not in own and not _left_out(here / name, skipped)]
    skipped += Counter()  # removes zeros
    return found


def _left_out(file: Path, skipped: Counter[str], *, known_kinds: bool = True) -> bool:
    """Whether a file is skipped. It is then counted by its kind.

    Args:
        known_kinds: whether to skip files without a picture's suffix; a glob's matches are all tried.
    """
    suffix = file.suffix.lower()
    if file.name.startswith("."):  # such as macOS's ._NAME files, which have a picture's suffix
        kind = "hidden"
    elif file.exists() and not file.is_file():  # such as a pipe; a broken link is a picture that can't be read
        kind = "no regular file"
    elif suffix in sources.SUFFIXES:
        kind = f"{suffix}{_AS_INPUT}"
    elif suffix in heic.SUFFIXES:
        kind = "" if importlib.util.find_spec("pillow_heif") else f"{suffix} (pip install pillow-heif)"
    elif suffix in SUFFIXES:
        kind = f"animated {suffix}{_AS_INPUT}" if animated_frames(file) > 1 else ""
    else:
        kind = (suffix or "without suffix") if known_kinds else ""
    skipped.update([kind] if kind else [])
    return bool(kind)


def _without_results(files: list[Path], output: Path, what: str) -> list[Path]:
    """The files that are neither results in `output` nor `output` itself."""
    resolved = {file: file.resolve() for file in files}
    target = output.resolve()
    own = [target / part for part in (POSES, DRAWN, RUN, RESULTS)] if has_results(output) else []
    others = [f for f in files if resolved[f] != target and not any(resolved[f].is_relative_to(path) for path in own)]
    if files and not others:
        raise UserError(f"{what}: its pictures are results in {output}; give other pictures or another --output")
    return others


def _is_result(file: Path, n_fixed: int) -> bool:
    """Whether a file is a result of a run. Folders among the first `n_fixed` parts of its path were given by name."""
    folders = [folder for folder in file.parents if len(folder.parts) > n_fixed and folder.name in (POSES, DRAWN)]
    own = file.name in (RUN, RESULTS) and has_results(file.parent)
    return own or any(has_results(folder.parent) for folder in folders)


def has_results(folder: Path) -> bool:
    """Whether a run has written its results into a folder."""
    return (folder / RUN).exists() and (folder / POSES).is_dir()
