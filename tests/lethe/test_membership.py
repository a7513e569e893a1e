import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe import membership, statistics
from lethe.membership import Sides
from lethe.records import ANSWER_AFTER_PREFIX, TEXT, Records
from tests.synthetic_records import BOOTSTRAP, likelihood, model_records, values

# A vocabulary of three, what the model says at five places, and the tokens that stand there.
SAID = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.5, 0.25, 0.25], [0.05, 0.05, 0.9], [1 / 3, 1 / 3, 1 / 3]])
TRUE = [0, 1, 1, 0, 2]
log_probs = st.lists(st.floats(-20, 0, width=32), min_size=1, max_size=12)


def five_tokens(**fields):
    """The answer of the example, in the numbers that a record keeps."""
    logs = np.log(SAID)
    means = (SAID * logs).sum(axis=1)
    variances = (SAID * (logs - means[:, None]) ** 2).sum(axis=1)
    return replace(likelihood(logs[range(5), TRUE], **fields), means=means, variances=variances)


def numbers(found):
    return found.numbers.tolist()


def split(*targets, **fields):
    """Records of one question for each target, given by its log-probabilities."""
    return Records([likelihood(target, id=f"q{index}", **fields) for index, target in enumerate(targets)], [])


def test_the_published_example_of_one_answer():
    said = Records([five_tokens()], [])
    # Natural logs of .7, .8, .25, .05 and 1/3: −.3567, −.2231, −1.3863, −2.9957, −1.0986; their mean −6.0604/5.
    assert numbers(membership.log_likelihoods(said, "never")) == pytest.approx([-1.2120914837], rel=1e-6)
    # Two of five: (−2.9957 − 1.3863)/2.
    assert numbers(membership.lowest_log_probs(said, 0.4, "never", "standard")) == pytest.approx([-2.1910133173])
    # In standard deviations .6331, .5, −1, −3 and 0 (the uniform row varies by nothing): (−3 − 1)/2.
    assert numbers(membership.lowest_z_scores(said, 0.4, "never", "standard")) == pytest.approx([-2.0], rel=1e-6)
    # zlib_bytes of the synthetic record is 9.
    assert numbers(membership.compressed_log_likelihoods(said, "never")) == pytest.approx([-1.2120914837 / 9], rel=1e-6)


def test_the_closing_token_counts_or_does_not():
    said = split([-1.0, -2.0, -9.0], ends_turn=True)
    assert numbers(membership.log_likelihoods(said, "never")) == [-4.0]
    assert numbers(membership.log_likelihoods(said, "if_ends_turn")) == [-1.5]
    plain = split([-1.0, -2.0, -9.0])
    assert numbers(membership.log_likelihoods(plain, "if_ends_turn")) == [-4.0]
    assert numbers(membership.log_likelihoods(plain, "always_last")) == [-1.5]


def test_what_becomes_of_short_answers():
    said = split([-1.0, -2.0, -3.0, -4.0, -5.0], [-1.0, -2.0], [])
    # ⌊.4 · 5⌋ = 2, ⌊.4 · 2⌋ = 0, nothing.
    expected = {"standard": [-4.5, -2.0, np.nan], "openunlearning": [-4.5, -2.0, 0.0], "muse": [-4.5, np.nan, np.nan]}
    for mode, lowest in expected.items():
        np.testing.assert_array_equal(membership.lowest_log_probs(said, 0.4, "never", mode).numbers, lowest)


@given(st.lists(log_probs, min_size=1, max_size=5), st.floats(0.01, 1))
def test_the_lowest_share_of_every_answer_by_itself(targets, k):
    found = membership.lowest_log_probs(split(*targets), k, "never", "standard").numbers
    expected = [np.mean(sorted(target)[: max(1, int(len(target) * k))]) for target in targets]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


@given(log_probs)
def test_all_tokens_are_the_loss(target):
    said = split(target)
    found = membership.lowest_log_probs(said, 1.0, "never", "standard").numbers
    np.testing.assert_allclose(found, membership.log_likelihoods(said, "never").numbers, rtol=1e-9)


def test_the_chunks_of_a_text_are_one_text():
    chunks = [likelihood([-4.0], kind=TEXT, index=1), likelihood([-1.0, -2.0, -3.0], kind=TEXT, index=0)]
    said = Records(chunks, [])
    assert numbers(membership.log_likelihoods(said, "never")) == [-2.5]
    assert numbers(membership.compressed_log_likelihoods(said, "never")) == [-2.5 / 18]  # 9 bytes each
    assert numbers(membership.lowest_log_probs(said, 0.5, "never", "standard")) == [-3.5]


def test_a_prefix_moves_a_likelihood_by_a_ratio():
    plain = [likelihood([-1.0, -3.0], id=name) for name in ("a", "b")] + [likelihood([0.0], id=name) for name in "cd"]
    behind = {"a": [-1.5, -4.5], "b": [-1.0, -1.0], "c": [0.0], "d": [-1.0]}
    after = [likelihood(target, id=name, kind=ANSWER_AFTER_PREFIX) for name, target in behind.items()]
    found = membership.prefix_ratios(Records(plain + after, []), "never")
    assert numbers(found) == [1.5, 0.5, 1.0, math.inf]
    without = membership.prefix_ratios(Records(plain, []), "never")
    assert (without.n, without.unscored) == (0, 4)
    # c and d stand in the prefix themselves, and b was lost without it.
    found = membership.prefix_ratios(Records([plain[0], *plain[2:], *after[:2]], []), "never")
    assert (found.ids, found.n, found.unscored) == (("a", "b"), 1, 1)


def test_a_similarity_of_a_published_example():
    # 1 − |.72 − .45|/.45
    assert membership.similarity(np.array(0.72), np.array(0.45)) == pytest.approx(0.4)
    assert membership.similarity(np.array(0.95), np.array(0.45)) == 0.0  # not below
    assert np.isnan(membership.similarity(np.array(0.5), np.array(0.0)))


def sides(members, non_members):
    """What an attack made of four authors on either side."""
    owners = [f"a{index % 4}" for index in range(len(members))]
    others = [f"b{index % 4}" for index in range(len(non_members))]
    return Sides(values(members, owners), values(non_members, others, "holdout"))


def test_the_numbers_of_an_example():
    model, retain = sides([4.0, 3.0, 1.0, 6.0], [2.0, 5.0, 0.0, 0.0]), sides([1.0] * 4, [1.0] * 4)
    found = membership.results("mia_x", model, retain, BOOTSTRAP)
    assert set(found) == set(membership.ranges("mia_x")) == set(membership.directions("mia_x"))
    # Above 2 and 0 and 0 are 4, 3 and 6, above 0 and 0 also 1, above 5 only 6: 3 + 3 + 2 + 4 = 12 of 16.
    assert found["mia_x_auc"].value == 12 / 16
    assert found["mia_x_auc_difference"].value == 12 / 16 - 1 / 2
    assert found["mia_x_similarity"].value == 1 - (12 / 16 - 1 / 2) / (1 / 2)
    assert found["mia_x_tpr_at_1_percent_fpr"].value == found["mia_x_tpr_at_5_percent_fpr"].value == 1 / 4
    assert {(score.n, score.unscored, score.sides) for score in found.values()} == {(8, 0, (4, 4))}
    for name in ("mia_x_auc", "mia_x_tpr_at_1_percent_fpr"):
        assert found[name].low <= found[name].value <= found[name].high
    # Every member and every non-member is an author of its own. Where only those at 0 are drawn of the non-members
    # every member is above, and only 6 where the 5 is drawn and 6 the only member: in more than 2.5 % of resamples.
    assert (found["mia_x_tpr_at_1_percent_fpr"].low, found["mia_x_tpr_at_1_percent_fpr"].high) == (0.0, 1.0)


def test_an_attack_without_a_retain_model_to_compare_with_counts_nothing_for_the_comparison():
    model = sides([4.0, 3.0, 1.0, 6.0], [2.0, 5.0, 0.0, 0.0])
    found, whole = (membership.results("mia_x", model, retain, BOOTSTRAP) for retain in (None, model))
    nothing = membership.Score(None, None, None, 0, 8, (0, 0))
    assert found == whole | dict.fromkeys(("mia_x_auc_difference", "mia_x_similarity"), nothing)


def test_a_model_like_the_retain_model_has_no_difference():
    same = membership.sides({"forget": model_records({"forget": 0.3}), "holdout": model_records({"holdout": 0.25})},
                            lambda said: membership.log_likelihoods(said, "never"))  # fmt: skip
    found = membership.results("mia_x", same, same, BOOTSTRAP)
    assert [getattr(found["mia_x_auc_difference"], end) for end in ("value", "low", "high")] == [0.0] * 3
    assert [getattr(found["mia_x_similarity"], end) for end in ("value", "low", "high")] == [1.0] * 3


def test_without_holdout_everything_is_missing_and_counted():
    alone = sides([1.0, 2.0], [])
    found = membership.results("mia_x", alone, alone, BOOTSTRAP)
    assert {(score.value, score.n, score.unscored) for score in found.values()} == {(None, 0, 2)}


def test_too_many_unscored_questions_on_one_side_are_not_averaged_away():
    good, gaps = sides([1.0, 2.0], [0.0, 1.0]), sides([1.0, np.nan], [0.0, 1.0])
    assert membership.results("mia_x", gaps, good, BOOTSTRAP)["mia_x_auc"] == membership.Score(
        None, None, None, 3, 1, (1, 2)
    )
    # What is missing in the retain model alone takes away the comparison alone.
    found = membership.results("mia_x", good, gaps, BOOTSTRAP)
    assert found["mia_x_auc"].value is not None
    assert found["mia_x_auc_difference"] == membership.Score(None, None, None, 3, 1, (1, 2))
    loose = BOOTSTRAP.model_copy(update={"max_unscored": 0.5})
    assert membership.results("mia_x", gaps, good, loose)["mia_x_auc"].value == 0.75  # 1 above 0 and equal to 1


def test_models_that_answered_other_questions_are_not_compared():
    with pytest.raises(ValueError, match="share their split and their questions"):
        membership.results("mia_x", sides([1.0], [1.0]), sides([1.0, 2.0], [1.0]), BOOTSTRAP)


@given(st.lists(st.integers(0, 3).map(float), min_size=1, max_size=8))
def test_forget_and_holdout_change_places(numbers_of_a_side):
    other = list(reversed([number + 0.5 for number in numbers_of_a_side]))
    forward, back = sides(numbers_of_a_side, other), sides(other, numbers_of_a_side)
    found = [statistics.auc(*(side.numbers for side in both)) for both in (forward, back)]
    assert found[0] == pytest.approx(1 - found[1])
