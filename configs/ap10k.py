"""MamKPD on AP-10K (MamKPD table 4), trained on the training part of a split.

mamkpd train --config=ap10k:NAME --config.data.root=data/ap-10k --workdir=runs/ap10k_NAME
with NAME one of the table of variants: small, base (the default), large, ablation_a and so on.

`data.root` holds data/ and annotations/; `data.ap10k_fold` is one of the three splits. The best checkpoint is chosen on
the val part; the final value is that of eval.py --config.eval.split=test.

Hardware, time and score: not run yet.
"""

from mamkpd_jax.config import Config, DataConfig, EvalConfig
from mamkpd_jax.model.mamkpd import variant


def get_config(name: str = "base") -> Config:
    return Config(
        model=variant(name),
        data=DataConfig(dataset="ap10k", root="data/ap-10k", input_hw=(256, 256)),
        eval=EvalConfig(metrics=("ap10k",)),
    )
