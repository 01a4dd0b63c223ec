"""MamKPD on MPII (MamKPD tables 3 and 5), with the training and validation lists of the HRNet repository.

mamkpd train --config=mpii:NAME --config.data.root=data/mpii --workdir=runs/mpii_NAME
NAME is a variant: small, base (the default), large, ablation_a and so on.

`data.root` has images/ and annot/ with train.json, valid.json and gt_valid.mat: those of the HRNet repository, or those
that `mamkpd mpii-release` makes from the official release.

Hardware, time and score: not run yet.
"""

from mamkpd_jax.config import Config, DataConfig, EvalConfig
from mamkpd_jax.model.mamkpd import variant


def get_config(name: str = "base") -> Config:
    return Config(
        model=variant(name),
        data=DataConfig(dataset="mpii", root="data/mpii", input_hw=(256, 256), augmentation="mmpose_mpii"),
        eval=EvalConfig(metrics=("mpii",)),
    )
