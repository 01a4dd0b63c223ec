"""AP-10K from the official files: annotations/ap10k-{train,val,test}-split{1,2,3}.json, data/."""

from mamkpd_jax.config import DataConfig
from mamkpd_jax.data.builders.coco_files import CocoFiles, Files
from mamkpd_jax.skeletons import AP10K


class Ap10k(CocoFiles):
    """AP-10K. `config.data.ap10k_fold` chooses one of its three divisions into train, val and test."""

    skeleton = AP10K

    @staticmethod
    def files(data: DataConfig) -> Files:
        parts = ("train", "val", "test")
        return {part: (f"annotations/ap10k-{part}-split{data.ap10k_fold}.json", "data") for part in parts}


DATASET = Ap10k
