"""What a module of `data/datasets` says of its data set."""

import dataclasses
from collections.abc import Callable, Collection

from mamkpd_jax.config import DataConfig
from mamkpd_jax.data.builders.coco_form import CocoFormBuilder
from mamkpd_jax.skeletons import Skeleton, find_skeleton


@dataclasses.dataclass(frozen=True, slots=True)
class DatasetEntry:
    """An entry of `registry.DATASETS`."""

    # Of the config and the splits that are needed; raises UserError if their files are missing or can't be right.
    builder: Callable[[DataConfig, Collection[str]], CocoFormBuilder]
    skeleton: Skeleton | None  # None: that of `config.data.skeleton` or of the annotations' categories

    def known_skeleton(self, data: DataConfig) -> Skeleton | None:
        """The skeleton, as far as it is known without the data set's files.

        Raises:
            UserError: `config.data.skeleton` is no skeleton.
        """
        if self.skeleton is None and data.skeleton:
            return find_skeleton(data.skeleton, [])
        return self.skeleton
