"""MamKPD on Leeds Sports Pose Extended, cropped to persons: PCK normalised by the torso and by the head.

mamkpd train --config=lspet:NAME --config.data.root=data/lspet --workdir=runs/lspet_NAME
NAME is a variant: small, base (the default), large, ablation_a and so on.

Hardware, time and score: not run yet.
"""

from mamkpd_jax.config import Config, DataConfig, EvalConfig, OptimConfig
from mamkpd_jax.model.mamkpd import variant


def get_config(name: str = "base") -> Config:
    return Config(
        model=variant(name),
        data=DataConfig(
            dataset="custom_coco",
            root="data/lspet",
            train_annotations="lspet_train.json",
            val_annotations="lspet_val.json",
            skeleton="lspet",
        ),
        optim=OptimConfig(batch_size=64),
        eval=EvalConfig(metrics=("pck_torso@0.2", "pck_head@0.5")),
    )
