"""Another config at a scale for CPUs: --config=narrow:SET,NAME takes configs/SET.py and the variant NAME.

It has a quarter of the channels, half the crop's width and height, few epochs, and only flips as augmentation. This
scale shows how networks of equal arithmetic learn in a short time. It shows nothing about networks of full size.
"""

import dataclasses
import runpy
from pathlib import Path

from mamkpd_jax.config import Config, HeatmapConfig


def get_config(names: str = "lspet,base") -> Config:
    name, _, variant = names.partition(",")
    config: Config = runpy.run_path(str(Path(__file__).with_name(f"{name}.py")))["get_config"](variant or "base")
    height, width = config.data.input_hw
    return dataclasses.replace(
        config,
        model=dataclasses.replace(
            config.model, dims=tuple(dim // 4 for dim in config.model.dims), decoder_dim=config.model.decoder_dim // 4
        ),
        data=dataclasses.replace(config.data, input_hw=(height // 2, width // 2), augmentation="flip", workers=0),
        head=HeatmapConfig(codec="dark"),
        optim=dataclasses.replace(
            config.optim, batch_size=16, epochs=3, decay_epochs=(2,), learning_rate=2e-3, warmup_steps=100
        ),
        eval=dataclasses.replace(config.eval, batch_size=50, every_epochs=1),
    )
