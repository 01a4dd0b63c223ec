"""What all builders share: records of images with their annotations in COCO's form, checked while they are built.

A record is an image, as bytes, with its instances: the annotations to train and evaluate on. All annotations of a
split, crowds too, are in one file beside the records: the ground truth that COCOeval needs.
"""

import abc
import contextlib
import io
import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import numpy as np
import tensorflow_datasets as tfds
from absl import logging
from tensorflow_datasets.core.utils import gcs_utils

from mamkpd_jax.config import DataConfig
from mamkpd_jax.data.builders.images import STORED
from mamkpd_jax.data.functional import clip_box
from mamkpd_jax.data.labels import IMAGE_FIELDS
from mamkpd_jax.errors import UserError
from mamkpd_jax.skeletons import Skeleton

# TFDS would otherwise look in its own cloud storage for a finished copy.
gcs_utils._is_gcs_disabled = True

# It warns that a configuration is made on the fly: that is how each of these data sets is made.
logging.get_absl_logger().addFilter(lambda record: not record.getMessage().startswith("Using custom data config"))

_LEFT_OUT = ("segmentation",)  # most of the file, and nothing here reads it
_LONGEST_NAME = 60  # of a folder; a configuration's name ends in its digest
_COUNTS = ("images", "annotations", "instances")


class CocoFormBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A data set of images with annotations in COCO's form. Subclasses say where these come from.

    The subclass is the entry of `registry.DATASETS`. It is called with `config.data` and the splits that are needed;
    it raises UserError if their files are missing or can't be right.
    """

    VERSION = tfds.core.Version("2.2.0")
    EXIF = STORED  # `reading` where the config says auto
    CLIPS_BOXES = True  # whether the protocol trains and evaluates on the part of a box inside its image
    skeleton: Skeleton

    def __init__(self, config: str, build_dir: str):
        """The data set as it is, or will be, below `build_dir`; `config` names the variant and goes into the path."""
        self.notes: dict[str, list[str]] = {}  # by split, what is odd about its files
        self.left_out: dict[str, int] = {}  # by split, annotations that `examples` does not give
        variant = tfds.core.BuilderConfig(name=re.sub(r"[^\w-]+", "_", config, flags=re.ASCII)[-_LONGEST_NAME:])
        super().__init__(data_dir=Path(build_dir).absolute(), config=variant, file_format="array_record")

    @classmethod
    def known_skeleton(cls, data: DataConfig) -> Skeleton | None:
        """The skeleton, as far as it is known without the data set's files.

        Raises:
            UserError: `config.data.skeleton` is no skeleton.
        """
        del data
        return cls.skeleton

    @classmethod
    def reading(cls, data: DataConfig) -> str:
        """STORED or UPRIGHT: how an image is read if its labelled size fits both."""
        return cls.EXIF if data.exif == "auto" else data.exif

    @abc.abstractmethod
    def splits(self) -> tuple[str, ...]:
        """The splits that can be built."""

    @abc.abstractmethod
    def examples(self, split: str) -> Iterator[tuple[dict[str, Any], bytes, list[dict[str, Any]]]]:
        """Each image's entry in COCO's form, its bytes and its annotations; raises UserError for what can't be used.

        An entry with a true 'upright' is of an image that has to be turned as its EXIF data says.
        """

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(),
                    "image/id": np.int64,
                    "image/file_name": tfds.features.Text(),
                    "image/height": np.int64,
                    "image/width": np.int64,
                    "image/upright": np.bool_,
                    # JSON, because TFDS stores arrays of float64 in 32 bits, which moves boxes.
                    "instances": tfds.features.Text(),
                }
            ),
            # Records stay in the order that they are generated in: the index of instances counts on it.
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(instances={}, counts={}, notes={}),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        del dl_manager
        return {split: self._generate_examples(split) for split in self.splits()}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """The records; writes the ground truth, and to the metadata the instances (record, place in it) and counts."""
        places, counts = [], Counter[str](dict.fromkeys(_COUNTS, 0))
        truth: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": []}
        for record, (image, content, annotations) in enumerate(self.examples(split)):
            instances = []
            for annotation in annotations:
                kept = {field: value for field, value in annotation.items() if field not in _LEFT_OUT}
                truth["annotations"].append(kept)
                reason = unusable(annotation, image)
                counts["instances" if reason is None else f"dropped: {reason}"] += 1
                if reason is None:
                    places.append([record, len(instances)])
                    instances.append(kept)
            truth["images"].append({field: image[field] for field in IMAGE_FIELDS})
            about = {f"image/{field}": image[field] for field in IMAGE_FIELDS}
            about["image/upright"] = image.get("upright", False)
            yield record, {"image": content, **about, "instances": json.dumps(instances)}
        if not places:
            reasons = ", ".join(f"{n} {reason}" for reason, n in counts.items() if n) or "no annotation"
            raise UserError(f"{self.name}: the split {split} has no instance to use ({reasons}); check its files")
        self.ground_truth_path(split).write_text(json.dumps(truth), encoding="utf-8")
        metadata: Any = self.info.metadata
        metadata["instances"][split] = places
        metadata["notes"][split] = self.notes.get(split, [])
        if self.left_out.get(split):
            counts["left out"] = self.left_out[split]
        metadata["counts"][split] = dict(counts) | {name: len(part) for name, part in truth.items()}

    def ground_truth_path(self, split: str) -> Path:
        """The file of a split's images and annotations in COCO's form, crowds included."""
        return Path(self.data_path) / f"annotations.{split}.json"


def prepare(builder: CocoFormBuilder) -> CocoFormBuilder:
    """Builds the data set unless it is there already, and logs its counts.

    TFDS builds in a folder of another name and renames it at the end, so an interrupted build is never taken for a
    finished one. What a killed build left is removed, and a build of another process is waited for.

    Raises:
        UserError: the source files are missing, damaged or contradict each other; only a lock file is left behind.
    """
    path = Path(builder.data_path)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(path.parent / ".lock"):  # the system releases it when its process ends
            for stale in path.parent.glob(f"incomplete.*_{path.name}"):
                shutil.rmtree(stale)
            if path.exists():  # another process has built it meanwhile
                builder.info.read_from_directory(path)
            else:
                logging.info("building %s in %s", builder.name, path)
                # It prints that it downloads a data set of unknown size, which is not so.
                with contextlib.redirect_stdout(io.StringIO()):
                    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    counts: dict = builder.info.metadata["counts"]  # type: ignore[index]
    for split, count in counts.items():
        logging.info("%s %s: %s", builder.name, split, ", ".join(f"{n} {name}" for name, n in count.items()))
        for note in builder.info.metadata["notes"][split]:  # type: ignore[index]
            logging.info("%s %s: %s", builder.name, split, note)
    return builder


def unusable(annotation: dict, image: dict) -> str | None:
    """Why an annotation is no instance to train or evaluate on. Source: the top-down protocol of SimpleBaseline."""
    if annotation["iscrowd"]:
        return "crowd"
    if not any(annotation["keypoints"][2::3]):
        return "no labelled keypoint"
    box = clip_box(np.array(annotation["bbox"], np.float64), image["height"], image["width"])
    if annotation["area"] <= 0 or box[2] <= 0 or box[3] <= 0:
        return "degenerate box"
    return None
