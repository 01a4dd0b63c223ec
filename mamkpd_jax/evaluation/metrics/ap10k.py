"""AP-10K's AP, which is COCO's, over species."""

from mamkpd_jax.evaluation.metrics.coco import oks_metric
from mamkpd_jax.evaluation.scores import Metric


def metric(name: str) -> Metric:
    """COCO's AP as 'ap10k/AP'."""
    return oks_metric(name, "ap10k")
