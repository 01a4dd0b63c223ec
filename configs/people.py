"""The shipped model `people`: a narrow MamKPD on Leeds Sports Pose Extended, 14 keypoints.

mamkpd train --config=people --config.data.root=data/lspet --workdir=runs/people
mamkpd convert --checkpoint=runs/people --output=people.safetensors --dtype=bfloat16

`mamkpd pose-release --release=DIR --root=data/lspet` makes the annotation files from the official release.
The shipped weights (torso PCK@0.2 60.6%, docs/models.md) are from this config with 29 epochs, decays after 20 and 27,
and `init_from` the weights of an earlier run: 17 epochs from scratch with the augmentation `hrnet`. The schedule below,
for a start from scratch, has not been run.
"""

from mamkpd_jax.config import Config, DataConfig, EvalConfig, HeatmapConfig, ModelConfig, OptimConfig


def get_config() -> Config:
    return Config(
        model=ModelConfig(depths=(1, 2, 3), dims=(40, 80, 160), decoder_dim=40, drop_path=0.0),
        head=HeatmapConfig(codec="dark", sigma_px=4.0),
        data=DataConfig(
            dataset="custom_coco",
            root="data/lspet",
            train_annotations="lspet_train.json",
            val_annotations="lspet_val.json",
            skeleton="lspet",
            input_hw=(128, 128),
            augmentation="light",
            workers=0,
        ),
        optim=OptimConfig(
            batch_size=16, epochs=60, learning_rate=2e-3, decay_epochs=(45, 56), warmup_steps=200, ema_decay=0.9995
        ),
        # A flip test would double the time of each prediction.
        eval=EvalConfig(metrics=("pck_torso@0.2", "pck_head@0.5"), batch_size=50, flip_test=False, every_epochs=5),
        checkpoint_every_steps=500,
    )
