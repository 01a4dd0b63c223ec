"""The shipped model `animals`: a narrow MamKPD on Animal-Pose, 20 keypoints.

mamkpd train --config=animals --config.data.root=data/animalpose --workdir=runs/animals
mamkpd convert --checkpoint=runs/animals --output=animals.safetensors --dtype=bfloat16

`mamkpd pose-release --release=DIR --root=data/animalpose` makes the annotation files from the official release.
The shipped weights are from this config: PCK@0.1 of the box 74.5% (docs/models.md).
"""

from mamkpd_jax.config import Config, DataConfig, EvalConfig, HeatmapConfig, ModelConfig, OptimConfig


def get_config() -> Config:
    return Config(
        model=ModelConfig(depths=(1, 2, 3), dims=(48, 96, 192), decoder_dim=48, drop_path=0.0),
        head=HeatmapConfig(codec="dark", sigma_px=4.0),
        data=DataConfig(
            dataset="custom_coco",
            root="data/animalpose",
            train_annotations="animalpose_train.json",
            val_annotations="animalpose_val.json",
            skeleton="animalpose",
            input_hw=(128, 128),
            augmentation="light",
            workers=0,
        ),
        optim=OptimConfig(
            batch_size=16, epochs=45, learning_rate=2e-3, decay_epochs=(31, 42), warmup_steps=200, ema_decay=0.9995
        ),
        # A flip test would double the time of each prediction.
        eval=EvalConfig(metrics=("pck_box@0.1", "coco"), batch_size=50, flip_test=False, every_epochs=5),
        checkpoint_every_steps=500,
    )
