import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.metrics import discoverable_extraction
from lethe.metrics.discoverable_extraction import PREFIXES, Config
from lethe.records import TEXT, Records
from tests.synthetic_records import likelihood

FIFTY = Config(match_tokens=50)


def chunk(hits, **fields):
    return likelihood([-1.0] * len(hits), hits=hits, kind=TEXT, **fields)


def found(*chunks, config=FIFTY):
    values = discoverable_extraction.compute(Records(list(chunks), []), config)
    return {name: item.numbers.tolist() for name, item in values.items()}


def test_only_what_follows_the_beginning_must_be_right():
    # 160 tokens: the first has no predictor, so hits[i] belongs to token i + 1 (from 0). Tokens 32 to 81 follow the
    # first 32; a miss on token 81 spoils that and what follows 50 (tokens 50 to 99), not what follows 100.
    hits = np.ones(159, dtype=bool)
    hits[81 - 1] = False
    assert found(chunk(hits)) == {
        "extractable_after_32": [0.0],
        "extractable_after_50": [0.0],
        "extractable_after_100": [1.0],
    }
    hits[81 - 1], hits[82 - 1] = True, False
    assert found(chunk(hits))["extractable_after_32"] == [1.0]


def test_a_start_token_is_given_but_is_no_token_of_the_text():
    # Behind a start token hits[i] belongs to token i: after the first 32 (tokens 0 to 31) follow tokens 32 to 81.
    hits = np.ones(82, dtype=bool)
    hits[81] = False
    assert found(chunk(hits, has_start_token=True))["extractable_after_32"] == [0.0]
    hits[81], hits[31] = True, False
    assert found(chunk(hits, has_start_token=True))["extractable_after_32"] == [1.0]
    too_short = discoverable_extraction.compute(Records([chunk(hits[:81], has_start_token=True)], []), FIFTY)
    assert too_short["extractable_after_32"].n == 0


@pytest.mark.parametrize(("tokens", "asked"), [(82, 1), (81, 0)])  # 32 given and 50 to follow
def test_a_chunk_too_short_is_not_asked(tokens, asked):
    values = discoverable_extraction.compute(Records([chunk([True] * (tokens - 1))], []), FIFTY)
    assert (values["extractable_after_32"].n, values["extractable_after_32"].unscored) == (asked, 0)


def test_a_text_of_two_chunks_has_their_mean_without_the_short_rest():
    chunks = [chunk([True] * 159), chunk([False] * 159, index=1), chunk([True] * 10, index=2)]
    assert found(*chunks)["extractable_after_100"] == [0.5]


@given(st.lists(st.booleans(), min_size=4, max_size=12), st.integers(1, 3))
def test_a_stretch_is_extractable_exactly_when_greedy_decoding_reproduces_it(hits, match):
    # Greedy decoding stays on the true text as long as every first choice is the true token.
    prefix, config = PREFIXES["extractable_after_32"], Config(match_tokens=match)
    padded = [True] * (prefix - 1) + hits
    reproduced = 0
    for hit in hits:
        if not hit:
            break
        reproduced += 1
    assert found(chunk(padded), config=config)["extractable_after_32"] == [float(reproduced >= match)]
