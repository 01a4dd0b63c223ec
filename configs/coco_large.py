"""MamKPD-Large on COCO keypoints 2017 (MamKPD tables 1 and 2).

mamkpd train --config=coco_large --config.data.root=data/coco --workdir=runs/coco_large

Hardware, time and score: not run yet.
"""

from mamkpd_jax.config import Config
from mamkpd_jax.model.mamkpd import variant


def get_config() -> Config:
    return Config(model=variant("large"))
