"""MPII from the files of the HRNet repository: annot/train.json, annot/valid.json, annot/gt_valid.mat and images/."""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mamkpd_jax.config import DataConfig
from mamkpd_jax.data.annotation_files import check_persons, read_json, read_mpii_truth
from mamkpd_jax.data.builders.coco_form import CocoFormBuilder
from mamkpd_jax.data.builders.images import check_folder, image_names, images_state, read_image
from mamkpd_jax.errors import UserError
from mamkpd_jax.skeletons import MPII

_FILES = {"train": "train.json", "val": "valid.json"}
_HEADS = "gt_valid.mat"
_SCALE_PX = 200.0  # box side at `scale` 1
_TOLERANCE_PX = 1e-3  # between the joints of the two files, which are rounded differently


class Mpii(CocoFormBuilder):
    """MPII. Annotation ids count from 0 in the order of the file. Pixels count from 0 too, unlike those of the file."""

    CLIPS_BOXES = False
    skeleton = MPII

    def __init__(self, data: DataConfig, needed: Collection[str] = ()):
        del needed  # the digest is of the annotations of both splits
        self._annotations, self._images = Path(data.root) / "annot", Path(data.root) / "images"
        self._exif = self.reading(data)
        digest = hashlib.sha256(self._exif.encode())
        for name in (*_FILES.values(), _HEADS):
            path = self._annotations / name
            if not path.is_file():
                raise UserError(
                    f"{path} is missing; give the folder of MPII's annot/ and images/ by --config.data.root "
                    "(`mamkpd mpii-release` makes annot/ from the official release)"
                )
            content = path.read_bytes()
            digest.update(content + images_state(self._images, image_names(content, "image"))[0].encode())
        super().__init__(digest.hexdigest()[:16], data.build_dir)

    def splits(self) -> tuple[str, ...]:
        return tuple(_FILES)

    def examples(self, split: str) -> Iterator[tuple[dict[str, Any], bytes, list[dict[str, Any]]]]:
        by_image = self.annotations(split)
        check_folder(self._images, list(by_image))
        for image_id, (name, annotations) in enumerate(by_image.items()):
            file = read_image(self._images / name, exif=self._exif)
            height, width = file.size_hw
            image = {"id": image_id, "file_name": name, "height": height, "width": width, "upright": file.upright}
            yield image, file.content, [annotation | {"image_id": image_id} for annotation in annotations]

    def annotations(self, split: str) -> dict[str, list[dict[str, Any]]]:
        """The annotations in COCO's form by image file name, without 'image_id'. Those of `val` have a 'head_box'.

        Raises:
            UserError: a file is missing or damaged, or the two files of `val` differ.
        """
        path = self._annotations / _FILES[split]
        persons = read_json(path)
        check_persons(path, persons, MPII.n_joints)
        heads = self._heads(path, persons) if split == "val" else None
        by_image = defaultdict(list)
        for i, person in enumerate(persons):
            head = {} if heads is None else {"head_box": heads[i].tolist()}
            by_image[person["image"]].append(_annotation(i, person) | head)
        return dict(by_image)

    def _heads(self, path: Path, persons: list[dict[str, Any]]) -> Float[np.ndarray, "n 4"]:
        """The head boxes of `persons`. _HEADS has no ids: its persons are matched by their order."""
        truth = read_mpii_truth(self._annotations / _HEADS)
        if len(truth["head_box"]) != len(persons):
            raise UserError(
                f"{path} has {len(persons)} persons and {_HEADS} {len(truth['head_box'])}; give two files of the same "
                "release"
            )
        for i, person in enumerate(persons):
            visible = np.array(person["joints_vis"]) > 0
            away = np.array(person["joints"], np.float64) - truth["joints"][i]
            if (visible != truth["visible"][i]).any() or np.abs(away[visible]).max(initial=0) > _TOLERANCE_PX:
                raise UserError(
                    f"{path}: person {i} ({person['image']}) has other joints than person {i} of {_HEADS}; give two "
                    "files of the same release, in the same order"
                )
        return truth["head_box"]


def _annotation(i: int, person: dict[str, Any]) -> dict[str, Any]:
    """The annotation of a person in COCO's form, in pixels that count from 0.

    Source: the official HRNet repository, which moves the centre down and takes the file's pixels to count from 1.
    """
    visible = np.array(person["joints_vis"]) > 0
    joints = np.array(person["joints"], np.float64) - 1
    side = person["scale"] * _SCALE_PX
    x, y = np.array(person["center"], np.float64) + [0, 15 * person["scale"]] - 1
    return {
        "id": i,
        "category_id": 1,
        "iscrowd": 0,
        "num_keypoints": int(visible.sum()),
        "area": side**2,
        "bbox": [x - side / 2, y - side / 2, side, side],
        "keypoints": np.column_stack([joints * visible[:, None], 2 * visible]).ravel().tolist(),
    }


DATASET = Mpii
