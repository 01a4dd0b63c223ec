"""AP-10K's AP, 'ap10k/AP': COCO's AP, averaged over the species."""

from functools import partial

from mamkpd_jax.evaluation.metrics import coco

metric = partial(coco.metric, family="ap10k")
