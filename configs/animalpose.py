"""MamKPD on Animal-Pose, cropped to animals: PCK normalised by the box, and AP over all species.

mamkpd train --config=animalpose:NAME --config.data.root=data/animalpose --workdir=runs/animalpose_NAME
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
            root="data/animalpose",
            train_annotations="animalpose_train.json",
            val_annotations="animalpose_val.json",
            skeleton="animalpose",
            input_hw=(256, 256),
        ),
        optim=OptimConfig(batch_size=64),
        eval=EvalConfig(metrics=("pck_box@0.1", "coco")),
    )
