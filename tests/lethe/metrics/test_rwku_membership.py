import math

import numpy as np
import pytest

from lethe import inference, splits
from lethe.batches import Encoding
from lethe.metrics import rwku_membership
from lethe.metrics.rwku_membership import Config
from lethe.records import TEXT, Records
from lethe.scores import Observation
from lethe.sources import rwku as source
from tests import asking, fake_rwku
from tests.synthetic_records import BOOTSTRAP, likelihood
from tests.tiny import tiny_model, tiny_tokenizer

NAMES = {
    f"rwku_{side}_{attack}" for side in ("forget", "retain") for attack in ("loss", "zlib", "min_k", "min_k_plus_plus")
}


def scored(said):
    return rwku_membership.compute(Observation(said, {}), {}, Config(k=0.2), BOOTSTRAP)


def passage(log_probs, split, name, index=0, spread=1.0):
    made = likelihood(log_probs, split=split, id=name, cluster=name, kind=TEXT, index=index)
    means, variances = np.full_like(made.means, -3.0), np.full_like(made.variances, spread**2)
    return type(made)(**{**vars(made), "means": means, "variances": variances})


def test_the_four_means_over_two_passages():
    # Of five and of ten tokens the lowest one and two: −6, and (−5 − 4) / 2 = −4.5. zlib: nine bytes each.
    first = passage([-6.0, -1.0, -1.0, -1.0, -1.0], "forget_mia", "a", spread=2.0)
    second = passage([-5.0, -4.0, *[-0.125] * 8], "forget_mia", "b", spread=2.0)
    found = scored({"forget_mia": Records([first, second], [])})
    assert found["rwku_forget_loss"].value == pytest.approx((-2 - 1) / 2)
    assert found["rwku_forget_zlib"].value == pytest.approx((-2 / 9 - 1 / 9) / 2)
    assert found["rwku_forget_min_k"].value == pytest.approx((-6 - 4.5) / 2)
    # In standard deviations of 2 from a mean of −3: −1.5, and (−1 − 0.5) / 2 = −0.75.
    assert found["rwku_forget_min_k_plus_plus"].value == pytest.approx((-1.5 - 0.75) / 2)
    assert {found[name].n for name in NAMES if "forget" in name} == {2}
    assert {found[name].value for name in NAMES if "retain" in name} == {None}


def test_the_chunks_of_a_passage_are_one_target():
    # Means of the chunks, −1 and −4, would give −2.5; tokens together −2. The lowest of five tokens is −4.
    whole = [passage([-1.0] * 2, "retain_mia", "a"), passage([-4.0, -2.0, -2.0], "retain_mia", "a", index=1)]
    found = scored({"retain_mia": Records(whole, [])})
    assert found["rwku_retain_loss"].value == pytest.approx(-2.0)
    assert found["rwku_retain_zlib"].value == pytest.approx(-2.0 / 18)
    assert found["rwku_retain_min_k"].value == pytest.approx(-4.0)
    assert found["rwku_retain_loss"].n == 1


def test_others_are_to_stay_familiar_and_the_forgotten_to_be_as_the_retain_model_has_them():
    assert rwku_membership.DIRECTION["rwku_retain_loss"] == "higher"
    assert rwku_membership.DIRECTION["rwku_forget_loss"] == "match_oracle"


def test_from_the_files_of_the_release_to_the_scores(tmp_path):
    folder = fake_rwku.write(tmp_path)
    loaded = source.load(source.Config(path=str(folder), subjects=["Ada", "Bo"], corpus=None))
    rows = [row for row in splits.questions(loaded, 1) if row.subset in ("forget_mia", "retain_mia")]
    encoding = Encoding(max_length=64, max_new_tokens=4, system_prompt=None)
    config = asking.settings(batch_tokens=1024)
    said = inference.ask(tiny_model(), tiny_tokenizer(), rows, ["none"], encoding, config)
    found = scored({split: said.where(split=split) for split in ("forget_mia", "retain_mia")})
    assert set(found) == NAMES
    assert {score.n for score in found.values()} == {4}
    # A model that was never trained finds all tokens about equally likely.
    assert found["rwku_retain_loss"].value == pytest.approx(-math.log(len(tiny_tokenizer())), abs=0.5)
