"""The base class of builders that read annotation files in COCO's form and folders of images."""

import abc
import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from mamkpd_jax.config import DataConfig
from mamkpd_jax.data.annotation_files import read_json
from mamkpd_jax.data.builders.coco_form import CocoFormBuilder
from mamkpd_jax.data.builders.images import check_folder, image_names, images_state, read_image
from mamkpd_jax.data.labels import read_labels, size_of
from mamkpd_jax.errors import UserError
from mamkpd_jax.skeleton_files import find_skeleton
from mamkpd_jax.skeletons import Skeleton

Files = dict[str, tuple[str, str]]  # annotation file and image folder by split, below `config.data.root`
_HINT = "give the folder of the data set's files by --config.data.root"


class CocoFiles(CocoFormBuilder, skip_registration=True):
    """A data set of annotation files in COCO's form and image folders.

    The name of its TFDS configuration has a digest of annotations, image sizes and times, and skeleton. A change of
    any of them gives another name, so the data set is built again.

    The labelled size of an image decides whether it is read stored or upright. Where both fit, `reading` decides.
    """

    def __init__(self, data: DataConfig, needed: Collection[str] | None = None):
        """Finds the files of each split.

        Args:
            data: the section `data` of the config.
            needed: splits whose files must exist; None: all. The others are included where their files exist.

        Raises:
            UserError: a folder or a needed file is missing, or the skeleton is unknown.
        """
        root, files = Path(data.root), self.files(data)
        if not root.is_dir():
            raise UserError(f"the data folder {root} does not exist; {_HINT}")
        needed = files if needed is None else needed
        self._files, self._exif = {}, self.reading(data)
        digest = hashlib.sha256(self._exif.encode())
        for split, (annotations, images) in files.items():
            path, folder = root / annotations, root / images
            if not path.is_file():
                if split in needed:
                    raise UserError(f"{path} is missing; {_HINT}")
                continue
            content = path.read_bytes()
            state, complete = images_state(folder, image_names(content, "file_name"))
            if split in needed or complete:
                self._files[split] = path, folder
                digest.update(content)
                digest.update(f"{split} {images} {state}".encode())
        self.skeleton = self.known_skeleton(data) or self._skeleton_of_categories()
        digest.update(repr(self.skeleton).encode())
        super().__init__(f"{self.skeleton.name}_{digest.hexdigest()[:16]}", data.build_dir)

    @staticmethod
    @abc.abstractmethod
    def files(data: DataConfig) -> Files:
        """The annotation file and the image folder of each split, relative to `config.data.root`."""

    def splits(self) -> tuple[str, ...]:
        return tuple(self._files)

    def examples(self, split: str) -> Iterator[tuple[dict[str, Any], bytes, list[dict[str, Any]]]]:
        path, folder = self._files[split]
        labels = read_labels(path, self.skeleton)
        check_folder(folder, [image["file_name"] for image in labels.images])
        by_image = defaultdict(list)
        for annotation in labels.annotations:
            by_image[annotation["image_id"]].append(annotation)
        for image in labels.images:
            file = read_image(folder / image["file_name"], size_of(image), exif=self._exif)
            if file.rotated:
                labels.findings.add("noted", file.rotation, image["file_name"])
            height, width = file.size_hw
            size = {"height": height, "width": width}
            yield image | size | {"upright": file.upright}, file.content, by_image[image["id"]]
        self.notes[split] = labels.findings.lines()
        self.left_out[split] = labels.left_out

    def _skeleton_of_categories(self) -> Skeleton:
        path, _ = next(iter(self._files.values()))
        content = read_json(path)
        try:
            return find_skeleton("", content.get("categories") if isinstance(content, dict) else None)
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
