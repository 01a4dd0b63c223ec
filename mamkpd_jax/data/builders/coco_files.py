"""Builders of data sets that are annotation files in COCO's form and folders of images."""

import abc
import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from absl import logging

from mamkpd_jax.config import DataConfig
from mamkpd_jax.data.annotation_files import check_annotations, read_json
from mamkpd_jax.data.builders.coco_form import CocoFormBuilder
from mamkpd_jax.data.builders.images import check_folder, read_image
from mamkpd_jax.errors import UserError
from mamkpd_jax.skeletons import Skeleton, find_skeleton

Files = dict[str, tuple[str, str]]  # annotation file and image folder by split, below `config.data.root`
_HINT = "give the folder of the data set's files by --config.data.root"


class CocoFiles(CocoFormBuilder, skip_registration=True):
    """The configuration's name is a digest of annotations, joints and image folders' names: others are built anew."""

    def __init__(self, data: DataConfig, needed: Collection[str] | None = None):
        """The splits `needed`, by default all, and of the others those whose files are there."""
        root, files = Path(data.root), self.files(data)
        if not root.is_dir():
            raise UserError(f"the data folder {root} does not exist; {_HINT}")
        paths = {split: (root / annotations, root / images) for split, (annotations, images) in files.items()}
        needed = files if needed is None else needed
        self._files = {s: (a, i) for s, (a, i) in paths.items() if s in needed or (a.is_file() and i.is_dir())}
        digest = hashlib.sha256()
        for split, (path, _) in self._files.items():
            if not path.is_file():
                raise UserError(f"{path} is missing; {_HINT}")
            digest.update(path.read_bytes() + f"{split} {files[split][1]}".encode())
        self.skeleton = self.known_skeleton(data) or self._skeleton_of_categories()
        digest.update(repr(self.skeleton).encode())
        super().__init__(f"{self.skeleton.name}_{digest.hexdigest()[:16]}", data.build_dir)

    @staticmethod
    @abc.abstractmethod
    def files(data: DataConfig) -> Files:
        """The files of all splits."""

    def splits(self) -> tuple[str, ...]:
        return tuple(self._files)

    def examples(self, split: str) -> Iterator[tuple[dict[str, Any], bytes, list[dict[str, Any]]]]:
        path, folder = self._files[split]
        data = read_json(path)
        check_annotations(path, data, self.skeleton.n_joints)
        check_folder(folder, [image["file_name"] for image in data["images"]])
        by_image = defaultdict(list)
        for annotation in data["annotations"]:
            by_image[annotation["image_id"]].append(annotation)
        for image in data["images"]:
            content, _ = read_image(folder / image["file_name"], (image["height"], image["width"]))
            yield image, content, by_image[image["id"]]

    def _skeleton_of_categories(self) -> Skeleton:
        path, _ = next(iter(self._files.values()))
        data = read_json(path)
        skeleton = find_skeleton("", data.get("categories", []) if isinstance(data, dict) else [])
        if not skeleton.flip_pairs:
            logging.warning(
                "%s: no two joints differ by left and right alone (%s), so that flips exchange none; if some mirror "
                "each other, name them in a skeleton file by --config.data.skeleton",
                *(path, ", ".join(skeleton.joints)),
            )
        return skeleton
