import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.metrics import verbatim_memorization
from lethe.metrics.verbatim_memorization import Config
from lethe.records import TEXT, Records
from tests.synthetic_records import generation, likelihood

TRUE = "the fox went down to the old harbour"


def scores(reference, text, mode="muse", ngram=3, whole=None):
    said = Records([], [generation(reference, text, prompt=TEXT, whole_reference=whole or reference)])
    found = verbatim_memorization.compute(said, Config(mode=mode, ngram=ngram))
    return {name: values.numbers[0] for name, values in found.items()}


def test_the_three_numbers_of_one_text():
    # Said: "the fox goes down to the harbour". In order: the fox down to the harbour, 6 of 8 true and of 7 said words.
    # Longest run: down to the, 3 of 8. Runs of three, six different ones in the true text: only "down to the" is said.
    found = scores(TRUE, "the fox goes down to the harbour")
    assert found == pytest.approx(
        {"verbatim_memorization": 2 * 6 / 15, "longest_common_run": 3 / 8, "shared_ngrams": 1 / 6}
    )


def test_stems_count_in_the_mode_of_openunlearning_alone():
    said = "the foxes went down to the old harbours"
    assert scores(TRUE, said)["verbatim_memorization"] == 6 / 8
    assert scores(TRUE, said, "openunlearning")["verbatim_memorization"] == 1.0


def test_in_the_mode_of_openunlearning_the_whole_rest_counts_and_for_muse_what_may_be_said():
    # All 8 words that may be said are right; of a rest of 24 words they are a third: F1 = 2 · 8 / (8 + 24) = 1/2.
    whole = f"{TRUE} {'and on ' * 8}"
    assert scores(TRUE, TRUE, "muse", whole=whole)["verbatim_memorization"] == 1.0
    found = scores(TRUE, TRUE, "openunlearning", whole=whole)
    assert found == pytest.approx({"verbatim_memorization": 0.5, "longest_common_run": 1.0, "shared_ngrams": 1.0})


def test_on_forget_it_is_missing_where_no_text_was_continued_and_elsewhere_nothing_is_said():
    config = Config(mode="muse", ngram=3)
    for split, names in (("forget", set(verbatim_memorization.RANGE)), ("retain", set())):
        said = Records([likelihood([-1.0], split=split)], [generation("a", "a", split=split)])
        found = verbatim_memorization.compute(said, config)
        assert set(found) == names
        assert all((values.n, values.unscored) == (0, 0) for values in found.values())


def test_a_text_that_ends_within_its_beginning_is_not_asked():
    texts = [likelihood([-1.0], kind=TEXT, id=name) for name in ("short", "long")]
    said = Records(texts, [generation("a b", "a b", prompt=TEXT, id="long")])
    found = verbatim_memorization.compute(said, Config(mode="muse", ngram=1))["verbatim_memorization"]
    assert (found.ids, found.unscored) == (("long",), 0)


@given(st.lists(st.sampled_from(["fox", "hare", "to"]), min_size=3, max_size=9), st.text("abcx ", max_size=20))
def test_a_text_has_all_of_itself_and_another_no_more(words, other):
    true = " ".join(words)
    assert set(scores(true, true).values()) == {1.0}
    assert all(0.0 <= number <= 1.0 for number in scores(true, other).values())
