"""Models by name: those that come with the package, those that the user adds, and those of the Hugging Face Hub.

A model NAME is a card NAME.json in the package's weights/ or in the user's folder. The card names the weights file
beside it and the file's SHA-256.
"""

import dataclasses
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import filelock
import platformdirs

from mamkpd_jax.artifact.artifact import Artifact
from mamkpd_jax.artifact.weight_files import save
from mamkpd_jax.errors import UserError
from mamkpd_jax.files import check_digest, write_json

FOLDER_VARIABLE = "MAMKPD_MODELS"  # the environment variable that names the user's folder
HUB = "hf://"
_HUB_FILE = "model.safetensors"
_HUB_NAME = re.compile(r"([\w.-]+/[\w.-]+)(?:@([\w.-]+))?(?:/(.+))?")  # OWNER/NAME, revision, file
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")  # lower case only: some file systems ignore case
_PACKAGE = Path(__file__).parents[1] / "weights"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A model's card, as read. `path` is the weights file; `about` holds the fields that are shown to users."""

    path: Path
    sha256: str
    about: dict[str, Any]


def user_folder() -> Path:
    """The folder of the models that the user adds: $MAMKPD_MODELS, else a folder in the user's cache."""
    return Path(os.environ.get(FOLDER_VARIABLE) or platformdirs.user_cache_path("mamkpd_jax") / "models")


def names() -> list[str]:
    """The names of all models, the package's first."""
    return list(_card_files())


def read_card(name: str) -> Card:
    """The card of a model; raises UserError if no model has this name or its card is damaged."""
    file = _card_files().get(name)
    if file is None:
        raise UserError(f"there is no model {name!r}; expected one of {', '.join(names())}")
    try:
        about = json.loads(file.read_bytes())
        return Card(path=file.with_name(about.pop("file")), sha256=str(about.pop("sha256")), about=about)
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{file} is not the card of a model ({reason}); {_remedy(name)}") from error


def add(name: str, artifact: Artifact) -> Path:
    """Adds a model to the user's folder under a name, and replaces the user's earlier model of that name.

    Returns:
        The weights file in `user_folder`.

    Raises:
        UserError: as in `check_new`, or the user's folder can't be created.
        OSError: a file can't be written.
    """
    check_new(name)
    folder = user_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror
        raise UserError(f"{folder} can't be written ({reason}); set {FOLDER_VARIABLE} to another folder") from error
    with filelock.FileLock(folder / ".lock"):
        save(artifact, folder / f".{name}.safetensors")
        digest = hashlib.sha256((folder / f".{name}.safetensors").read_bytes()).hexdigest()
        # The file name has the digest, so that a reader of the old card never finds the new file.
        path = (folder / f".{name}.safetensors").replace(folder / f"{name}.{digest[:12]}.safetensors")
        write_json(folder / f"{name}.json", {"file": path.name, "sha256": digest})
        for old in set(folder.glob(f"{name}.*.safetensors")) - {path}:
            old.unlink()
    return path


def check_new(name: str) -> None:
    """Raises UserError if a model can't be added under this name."""
    if not _NAME.fullmatch(name):
        raise UserError(f"the model name is {name!r}; expected lower-case letters, digits, - and _")
    if (_PACKAGE / f"{name}.json").exists():
        raise UserError(f"{name} is a model of the package; choose another name")


def find(source: str | Path) -> Path:
    """The weights file or run directory for a model's name, an address hf://OWNER/NAME, or a path.

    A model's name takes precedence over a file or folder of the same name; ./NAME means the file or folder.

    Raises:
        UserError: there is no such model or path, or a file is damaged or can't be downloaded.
    """
    if isinstance(source, str) and source.startswith(HUB):
        return _from_hub(source)
    if isinstance(source, str) and source in names():
        card = read_card(source)
        check_digest(card.path, card.sha256, _remedy(source))
        return card.path
    if not source or not Path(source).exists():
        named = "" if isinstance(source, Path) else f"{', '.join(names())}, {HUB}OWNER/NAME, "
        raise UserError(
            f"{source} is no model, folder or file; expected {named}the folder of a training run, or a model's file"
        )
    return Path(source)


def _card_files() -> dict[str, Path]:
    files = [file for folder in (user_folder(), _PACKAGE) for file in folder.glob("*.json")]
    found = {file.stem: file for file in files if _NAME.fullmatch(file.stem)}
    return dict(sorted(found.items(), key=lambda item: (item[1].parent != _PACKAGE, item[0])))


def _remedy(name: str) -> str:
    """The end of a message: how to repair a damaged model."""
    if (_PACKAGE / f"{name}.json").exists():
        return "install mamkpd_jax again"
    return f"add it again by `mamkpd models --add={name} --checkpoint=...`"


def _from_hub(address: str) -> Path:
    """Downloads a model, or takes it from the cache of huggingface_hub (the extra `hub`)."""
    import huggingface_hub

    match = _HUB_NAME.fullmatch(address.removeprefix(HUB))
    if match is None:
        raise UserError(f"{address}: expected {HUB}OWNER/NAME, optionally followed by @REVISION and /FILE")
    repository, revision, file = match.groups()
    try:
        return Path(huggingface_hub.hf_hub_download(repository, file or _HUB_FILE, revision=revision))
    except Exception as error:  # the HTTP client's errors and the Hub's have no common base
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{address} can't be downloaded: {reason}") from error
