"""The shipped model `people`: a narrow MamKPD on Leeds Sports Pose Extended, 14 keypoints.

mamkpd train --config=people --config.data.root=data/lspet --workdir=runs/people
mamkpd convert --checkpoint=runs/people --output=people.safetensors --dtype=bfloat16

`mamkpd pose-release --release=DIR --root=data/lspet` makes the annotation files from the official release.
The shipped weights are from a short run of 17 epochs, with learning-rate decays after 7,000 steps and 16 epochs: torso
PCK@0.2 50.7% (docs/models.md). The full schedule below has not been run to its end.
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
            augmentation="hrnet",
            workers=0,
        ),
        optim=OptimConfig(
            batch_size=16, epochs=160, learning_rate=2e-3, decay_epochs=(130, 150), warmup_steps=200, ema_decay=0.9995
        ),
        # A flip test would double the time of each prediction.
        eval=EvalConfig(metrics=("pck_torso@0.2", "pck_head@0.5"), batch_size=50, flip_test=False, every_epochs=5),
        checkpoint_every_steps=500,
    )
