"""AP-10K from the official files: annotations/ap10k-{train,val,test}-split{1,2,3}.json, data/."""

from collections.abc import Collection
from pathlib import Path

from mamkpd_jax.config import DataConfig
from mamkpd_jax.data.builders.coco_files import CocoFiles
from mamkpd_jax.data.builders.entry import DatasetEntry
from mamkpd_jax.skeletons import AP10K


class Ap10k(CocoFiles):
    """AP-10K below `root`; `fold` is the number of one of its three splits into train, val and test."""

    def __init__(self, root: Path, fold: int, data_dir: Path, needed: Collection[str] | None = None):
        files = {part: (f"annotations/ap10k-{part}-split{fold}.json", "data") for part in ("train", "val", "test")}
        super().__init__(root, files, AP10K, data_dir, needed)


def _builder(data: DataConfig, needed: Collection[str]) -> Ap10k:
    return Ap10k(Path(data.root), data.ap10k_fold, Path(data.build_dir), needed)


DATASET = DatasetEntry(_builder, AP10K)
