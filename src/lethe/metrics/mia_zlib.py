"""Zlib attack: the loss, seen against how much information the text itself holds.

A question's number is −L / bytes, with L the mean negative log-likelihood of the answer and bytes the length of its
text after zlib compression (Carlini et al., 2021, arXiv:2012.07805; the form of OpenUnlearning, arXiv:2506.12618, with
``drop_eos: never``). The chunks of a text are compressed one by one and their bytes added. Of its numbers the AUC lies
between 0 and 1 (:mod:`lethe.membership`).
"""

from collections.abc import Mapping

from lethe import likelihoods, membership
from lethe.config import Section
from lethe.records import Records
from lethe.scores import Observation, Score
from lethe.statistics import Bootstrap

NAME = "mia_zlib"
SCOPE = "model"
RANGE = membership.ranges(NAME)
DIRECTION = membership.directions(NAME)
NEEDS = frozenset({"likelihoods", "holdout", "retain_model"})


class Config(Section):
    """Whether the closing token counts."""

    drop_eos: likelihoods.DropEos


def compute(
    model: Observation, retain_records: Mapping[str, Records], config: Config, bootstrap: Bootstrap
) -> dict[str, Score]:
    """The attack on the model, beside the same attack on the retain model."""
    model_sides, retain_sides = membership.on_both(
        model.records, retain_records, lambda split: membership.compressed_log_likelihoods(split, config.drop_eos)
    )
    return membership.results(NAME, model_sides, retain_sides, bootstrap)
