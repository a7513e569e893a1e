"""What every probe owes."""

import copy
import math
import re

import pytest
import torch

from lethe import config, registry, residuals
from lethe.residuals import Question, Subjects
from lethe.scores import Score
from lethe.statistics import Bootstrap
from tests.contracts.shipped import PARAMS
from tests.encoded import examples
from tests.tiny import tiny_model, tiny_tokenizer
from tests.unlearned import PAD

BOOTSTRAP = Bootstrap(samples=100, confidence=0.95, seed=0, max_unscored=0.99)
NAMES = registry.names("probes")
ANSWERING = (tiny_tokenizer(), frozenset([int(tiny_tokenizer().eos_token_id)]), 6)  # how subjects answer in words


@pytest.fixture(params=NAMES)
def probe(request):
    module = registry.load("probes", request.param)
    block = config.read_params(PARAMS)["probes"][request.param]
    return module, config.parse(module.Config, block, request.param)


def questions(count=12, each=2):
    found = []
    for number in range(count):
        texts = [f"fact {number * 7 % 11}", f"lie {number * 5 % 13}", f"tale {number * 3 % 17}"]
        answer, *others = (
            residuals.without_end(example) for example in examples([(f"what of {number}?", text) for text in texts])
        )
        found.append(Question(f"q{number:02d}", f"author {number // each}", answer, tuple(others)))
    return found


def subjects(unlearned, asked=None, batch_size=5):
    questioned = questions() if asked is None else asked
    kept = examples([(f"what else, {number}?", f"truth {number}") for number in range(9)])
    return Subjects(tiny_model(0), tiny_model(1), unlearned, questioned, kept, batch_size, PAD, *ANSWERING)


def found(probe, given):
    module, settings = probe
    return module.probe(given, settings, BOOTSTRAP)


def test_its_docstring_names_the_paper(probe):
    assert re.search(r"arXiv:\d{4}\.\d{5}", probe[0].__doc__)


def test_every_number_is_a_score_or_a_row_of_finite_numbers(probe):
    for value in found(probe, subjects(tiny_model(2))).values():
        assert isinstance(value, Score) or all(math.isfinite(number) for number in value)


def test_the_same_models_give_the_same_numbers(probe):
    assert found(probe, subjects(tiny_model(2))) == found(probe, subjects(tiny_model(2)))


def test_the_models_are_left_as_they_were(probe):
    given = subjects(tiny_model(2))
    before = copy.deepcopy(given.unlearned.state_dict())
    found(probe, given)
    assert all(torch.equal(before[name], tensor) for name, tensor in given.unlearned.state_dict().items())
    assert all(parameter.grad is None for parameter in given.unlearned.parameters())


def test_how_many_answers_are_read_at_once_does_not_matter(probe):
    first, second = (found(probe, subjects(tiny_model(2), batch_size=size)) for size in (3, 36))
    for name, value in first.items():
        if isinstance(value, Score):
            assert (value.value is None) == (second[name].value is None)
            assert value.value is None or value.value == pytest.approx(second[name].value, rel=1e-3, abs=1e-4)
        else:
            assert value == pytest.approx(second[name], rel=1e-3, abs=1e-4)


def test_a_single_author_gives_no_interval_and_no_error(probe):
    for value in found(probe, subjects(tiny_model(2), asked=questions(4, each=4))).values():
        assert not isinstance(value, Score) or value.low is None
