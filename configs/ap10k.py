"""MamKPD on AP-10K (MamKPD table 4), with one of its three splits into train, val and test.

mamkpd train --config=ap10k:NAME --config.data.root=data/ap-10k --workdir=runs/ap10k_NAME
NAME is a variant: small, base (the default), large, ablation_a and so on.

`data.root` has data/ and annotations/; `data.ap10k_fold` chooses the split. Training selects the best checkpoint on
val; `mamkpd eval --config.eval.split=test` gives the final metrics.

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
