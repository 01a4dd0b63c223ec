"""The base class of all builders. It writes and checks records of images with annotations in COCO's form.

A record is an image, as bytes, with its instances: the annotations to train and evaluate on. A file beside the records
has all annotations of a split, crowds included. It is the ground truth that COCOeval needs.
"""

import abc
import contextlib
import hashlib
import io
import json
import re
import shutil
import sys
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

# Without this, TFDS looks in its own cloud storage for a finished copy.
gcs_utils._is_gcs_disabled = True

# TFDS warns about configurations that are made on the fly, and all configurations here are.
logging.get_absl_logger().addFilter(lambda record: not record.getMessage().startswith("Using custom data config"))

_UNUSED_FIELDS = ("segmentation",)  # the largest part of the file, and no code here reads it
_MAX_NAME_LENGTH = 60  # of a folder; names are cut at the start, because they end in the digest
_COUNTS = ("images", "annotations", "instances")


class CocoFormBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A data set of images with annotations in COCO's form. Subclasses read their source files.

    A subclass is an entry of `registry.DATASETS`. It is called with `config.data` and the splits that are needed. It
    raises UserError if their files are missing or invalid.
    """

    VERSION = tfds.core.Version("2.2.0")
    EXIF = STORED  # the value of `reading` for config.data.exif=auto
    CLIPS_BOXES = True  # whether the data set's protocol clips boxes to their images
    skeleton: Skeleton

    def __init__(self, config: str, build_dir: str):
        """Opens a data set that is built, or will be built, below `build_dir`.

        Args:
            config: the name of the variant, a part of the path.
            build_dir: the folder of all built data sets.
        """
        self.notes: dict[str, list[str]] = {}  # by split: remarks about its files
        self.left_out: dict[str, int] = {}  # by split: number of annotations that `examples` leaves out
        self._digests: dict[str, set[bytes]] = {}  # by split: of the images' files
        variant = tfds.core.BuilderConfig(name=re.sub(r"[^\w-]+", "_", config, flags=re.ASCII)[-_MAX_NAME_LENGTH:])
        super().__init__(data_dir=Path(build_dir).absolute(), config=variant, file_format="array_record")

    @classmethod
    def known_skeleton(cls, data: DataConfig) -> Skeleton | None:
        """The skeleton, if it is known without the data set's files; else None.

        Raises:
            UserError: `config.data.skeleton` names no valid skeleton.
        """
        del data
        return cls.skeleton

    @classmethod
    def reading(cls, data: DataConfig) -> str:
        """How to read an image whose labelled size fits both ways: STORED or UPRIGHT."""
        return cls.EXIF if data.exif == "auto" else data.exif

    @abc.abstractmethod
    def splits(self) -> tuple[str, ...]:
        """The splits that can be built."""

    @abc.abstractmethod
    def examples(self, split: str) -> Iterator[tuple[dict[str, Any], bytes, list[dict[str, Any]]]]:
        """Yields each image's entry in COCO's form, its bytes and its annotations.

        A true 'upright' in an entry means that the image's EXIF rotation must be applied.

        Raises:
            UserError: an annotation or an image can't be used.
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
                    # JSON, because TFDS stores float64 arrays as float32, which would move boxes.
                    "instances": tfds.features.Text(),
                }
            ),
            # The index of instances refers to records by their order.
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(instances={}, counts={}, notes={}),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        del dl_manager
        return {split: self._generate_examples(split) for split in self.splits()}

    def _generate_examples(self, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yields the records, and writes the ground-truth file and the metadata.

        The metadata has the counts, and for each instance its record and its index in that record.
        """
        places, counts = [], Counter[str](dict.fromkeys(_COUNTS, 0))
        truth: dict[str, list[dict[str, Any]]] = {"images": [], "annotations": []}
        digests = self._digests[split] = set()
        for record, (image, content, annotations) in enumerate(self.examples(split)):
            digests.add(hashlib.sha256(content).digest())
            instances = []
            for annotation in annotations:
                kept = {field: value for field, value in annotation.items() if field not in _UNUSED_FIELDS}
                truth["annotations"].append(kept)
                reason = unusable(annotation, image)
                counts["instances" if reason is None else f"dropped: {reason}"] += 1
                if reason is None:
                    places.append([record, len(instances)])
                    instances.append(kept)
            truth["images"].append({field: image[field] for field in IMAGE_FIELDS})
            fields = {f"image/{field}": image[field] for field in IMAGE_FIELDS}
            fields["image/upright"] = image.get("upright", False)
            yield record, {"image": content, **fields, "instances": json.dumps(instances)}
        if not places:
            reasons = ", ".join(f"{n} {reason}" for reason, n in counts.items() if n) or "no annotation"
            raise UserError(f"{self.name}: the split {split} has no instance to use ({reasons}); check its files")
        self.ground_truth_path(split).write_text(json.dumps(truth), encoding="utf-8")
        metadata: Any = self.info.metadata
        metadata["instances"][split] = places
        metadata["notes"][split] = [
            f"{n} of the images are in {other} too, so scores on {split} are too high after training on {other}"
            for other, others in self._digests.items()
            if other != split and (n := len(digests & others))
        ] + self.notes.get(split, [])
        if self.left_out.get(split):
            counts["left out"] = self.left_out[split]
        metadata["counts"][split] = dict(counts) | {name: len(part) for name, part in truth.items()}

    def ground_truth_path(self, split: str) -> Path:
        """The path of a split's annotation file in COCO's form, crowds included."""
        return Path(self.data_path) / f"annotations.{split}.json"


def prepare(builder: CocoFormBuilder) -> CocoFormBuilder:
    """Builds the data set unless it exists, logs its counts, and returns the builder.

    TFDS builds in a temporary folder and renames it at the end, so an interrupted build never looks finished. This
    function removes the leftovers of a killed build, and waits while another process builds.

    Raises:
        UserError: the source files are missing, damaged or contradict each other. Only a lock file is left behind.
    """
    path = Path(builder.data_path)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(path.parent / ".lock"):  # the system releases it even if the process is killed
            for stale in path.parent.glob(f"incomplete.*_{path.name}"):
                shutil.rmtree(stale)
            if path.exists():  # another process has built it meanwhile
                builder.info.read_from_directory(path)
            else:
                logging.info("building %s in %s", builder.name, path)
                if not sys.stderr.isatty():  # a log file would get a line for each state of the progress bars
                    tfds.disable_progress_bar()
                # TFDS prints that it downloads a data set of unknown size, which is false here.
                with contextlib.redirect_stdout(io.StringIO()):
                    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    counts: dict = builder.info.metadata["counts"]  # type: ignore[index]
    for split, count in counts.items():
        logging.info("%s %s: %s", builder.name, split, ", ".join(f"{n} {name}" for name, n in count.items()))
        for note in builder.info.metadata["notes"][split]:  # type: ignore[index]
            logging.info("%s %s: %s", builder.name, split, note)
    return builder


def unusable(annotation: dict, image: dict) -> str | None:
    """The reason why an annotation is not an instance to train or evaluate on; None if it is one.

    Source: the top-down protocol of SimpleBaseline (arXiv 1804.06208).
    """
    if annotation["iscrowd"]:
        return "crowd"
    if not any(annotation["keypoints"][2::3]):
        return "no labelled keypoint"
    box = clip_box(np.array(annotation["bbox"], np.float64), image["height"], image["width"])
    if annotation["area"] <= 0 or box[2] <= 0 or box[3] <= 0:
        return "degenerate box"
    return None
