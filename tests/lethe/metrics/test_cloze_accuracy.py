import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.metrics import cloze_accuracy
from lethe.metrics.cloze_accuracy import Config
from lethe.records import ANSWER, PARAPHRASED_ANSWER, PERTURBED_ANSWER, Records
from tests.synthetic_records import likelihood, question


def computed(*likelihoods, drop_eos="never"):
    found = cloze_accuracy.compute(Records(list(likelihoods), []), Config(drop_eos=drop_eos))
    return {name: values.numbers.tolist() for name, values in found.items()}


def test_whole_answers_favour_the_short_one_and_means_do_not():
    # True: three tokens of −1, together −3. False: one token of −2. Whole: −2 wins; a token: −1 wins.
    true, false = likelihood([-1.0] * 3, kind=ANSWER), likelihood([-2.0], kind=PERTURBED_ANSWER)
    assert computed(true, false) == {"cloze_accuracy": [0.0], "cloze_accuracy_per_token": [1.0]}


def test_the_paraphrased_answer_stands_against_the_false_ones_where_there_is_one():
    assert computed(*question(0.1, 5.0, [3.0, 4.0]))["cloze_accuracy"] == [0.0]
    assert computed(*question(5.0, 0.1, [3.0, 4.0]))["cloze_accuracy"] == [1.0]
    assert computed(*question(0.1, None, [3.0, 4.0]))["cloze_accuracy"] == [1.0]


def test_the_end_of_turn_counts_or_not():
    # Without it −1 against −2; with it −1 − 5 against −2 − 0.
    true = likelihood([-1.0, -5.0], kind=PARAPHRASED_ANSWER, ends_turn=True)
    false = likelihood([-2.0, 0.0], kind=PERTURBED_ANSWER, ends_turn=True)
    assert computed(true, false, drop_eos="if_ends_turn")["cloze_accuracy"] == [1.0]
    assert computed(true, false)["cloze_accuracy"] == [0.0]


def test_equally_likely_options_share_the_point():
    assert computed(*question(1.0, None, [1.0, 2.0]))["cloze_accuracy"] == [1 / 2]


def test_a_question_without_false_answers_is_not_asked_and_one_whose_answer_is_lost_is_unscored():
    asked = [*question(1.0, id="alone"), *question(1.0, None, [2.0], id="whole")]
    lost = likelihood([-1.0], kind=PERTURBED_ANSWER, id="lost")
    found = cloze_accuracy.compute(Records([*asked, lost], []), Config(drop_eos="never"))["cloze_accuracy"]
    assert (found.ids, found.n, found.unscored) == (("lost", "whole"), 1, 1)


def test_multiple_choice_by_letters_is_another_metric():
    assert computed(*question(1.0, None, [2.0], split="world_by_letter")) == {}


@given(st.floats(0.1, 5), st.lists(st.floats(0.1, 5), min_size=1, max_size=4))
def test_with_one_token_each_both_agree_and_say_whether_the_right_one_is_best(right, false):
    found = computed(*question(right, None, false))
    assert found["cloze_accuracy"] == found["cloze_accuracy_per_token"]
    log = question(right, None, false)
    best = min(-float(item.log_probs[0]) for item in log)
    assert found["cloze_accuracy"] == pytest.approx(
        [(best == -float(log[0].log_probs[0])) / sum(best == -float(item.log_probs[0]) for item in log)]
    )
