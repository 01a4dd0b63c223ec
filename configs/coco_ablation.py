"""The ablations of MamKPD's table 5 (a to d) and figure 3, on COCO keypoints 2017; the paper ran them on MPII.

mamkpd train --config=coco_ablation:NAME --workdir=runs/NAME
NAME is one of ablation_a, ablation_b, ablation_c, ablation_d, without_stem, without_cmm, patch_merging,
without_stem_and_cmm.

Hardware, time and scores: not run yet.
"""

from mamkpd_jax.config import Config
from mamkpd_jax.errors import UserError
from mamkpd_jax.model.mamkpd import ABLATIONS, variant


def get_config(name: str = "") -> Config:
    if name not in ABLATIONS:
        raise UserError(
            f"--config=configs/coco_ablation.py:{name}: there is no such ablation; give one of {', '.join(ABLATIONS)}"
        )
    return Config(model=variant(name))
