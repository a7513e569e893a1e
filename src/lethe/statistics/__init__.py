"""Intervals, tests and rankings whose unit is the cluster (author, document, entity)."""

from lethe.statistics.bootstrap import (
    Bootstrap,
    bounds,
    difference,
    is_missing,
    means,
    paired,
    ratio,
    require_same_questions,
    resampled_means,
)
from lethe.statistics.hypotheses import (
    KolmogorovSmirnov,
    RetainSpread,
    cluster_permutation,
    equivalence_p,
    equivalent,
    holm,
    kolmogorov_smirnov,
    mean_above_zero_p,
    retain_spread,
)
from lethe.statistics.proportions import clopper_pearson_upper, wilson
from lethe.statistics.ranking import auc, resampled_aucs, resampled_tprs, tpr_at_fpr

__all__ = [
    "Bootstrap",
    "KolmogorovSmirnov",
    "RetainSpread",
    "auc",
    "bounds",
    "clopper_pearson_upper",
    "cluster_permutation",
    "difference",
    "equivalence_p",
    "equivalent",
    "holm",
    "is_missing",
    "kolmogorov_smirnov",
    "mean_above_zero_p",
    "means",
    "paired",
    "ratio",
    "require_same_questions",
    "resampled_aucs",
    "resampled_means",
    "resampled_tprs",
    "retain_spread",
    "tpr_at_fpr",
    "wilson",
]
