"""AP-10K's AP, which is COCO's, over species: 'ap10k/AP'."""

from functools import partial

from mamkpd_jax.evaluation.metrics import coco

metric = partial(coco.metric, family="ap10k")
