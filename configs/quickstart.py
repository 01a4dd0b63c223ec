"""A narrow MamKPD on synthetic people, which `make train` trains in minutes on two CPU cores.

It has two stages, so that a small crop has features of stride 8 and heatmaps of stride 2.

On two cores of a shared x86-64 machine, without a GPU: 8 min 12 s of training, AP 0.616 (AP50 0.874, AP75 0.699) on the
400 validation pictures. Other processors and code versions, which round differently, give AP 0.610 to 0.621.
"""

from mamkpd_jax.config import Config, DataConfig, EvalConfig, HeatmapConfig, ModelConfig, OptimConfig


def get_config() -> Config:
    return Config(
        model=ModelConfig(stem=False, depths=(1, 2), dims=(32, 96), decoder_dim=32, drop_path=0.0),
        head=HeatmapConfig(codec="dark", sigma_px=4.0),
        data=DataConfig(
            dataset="synthetic_people",
            input_hw=(96, 64),
            augmentation="flip",
            workers=0,
            synthetic_train_images=4800,
            synthetic_val_images=400,
        ),
        optim=OptimConfig(batch_size=16, epochs=8, learning_rate=2e-3, decay_epochs=(5, 7), warmup_steps=100),
        eval=EvalConfig(batch_size=32, every_epochs=4),
        checkpoint_every_steps=500,
    )
