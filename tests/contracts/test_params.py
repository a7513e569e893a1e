"""Every section of params.yaml fits the schema of the stage that reads it, and every component has its block."""

import pytest

from lethe import (
    batches,
    capabilities,
    config,
    controls,
    finetuning,
    inference,
    models,
    observed,
    preparation,
    pretraining,
    probing,
    registry,
    scoring,
)
from lethe.meta_evaluation import findings
from lethe.recipes import Grid
from lethe.reporting import page
from tests.contracts import shipped

SOURCES = registry.names("sources")
SECTIONS = {
    ("pretrain",): pretraining.Config,
    ("grid",): Grid,
    ("score",): scoring.Config,
    ("capabilities",): capabilities.Config,
    ("report",): page.Config,
    ("observe",): observed.Config,
    ("probe",): probing.Config,
    ("meta_evaluation",): findings.Config,
    **{("prepare", name): registry.load("sources", name).Config for name in SOURCES},
    **{("infer", name): inference.Config for name in SOURCES},
    **{("encoding", name): batches.Encoding for name in SOURCES},
    **{("finetune", name): finetuning.Config for name in SOURCES},
    **{("check", name): controls.Config for name in SOURCES},
    **{("attacks", name): registry.load("attacks", name).Config for name in registry.names("attacks")},
    **{("metrics", name): registry.load("metrics", name).Config for name in registry.names("metrics")},
    **{("observations", name): registry.load("observations", name).Config for name in registry.names("observations")},
    **{("probes", name): registry.load("probes", name).Config for name in registry.names("probes")},
}


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch):
    monkeypatch.chdir(shipped.PARAMS.parent)


@pytest.mark.parametrize("keys", SECTIONS, ids=".".join)
def test_every_section_fits_the_schema_that_reads_it(keys):
    config.section(SECTIONS[keys], *keys)


def test_no_section_stands_there_that_nobody_reads():
    assert set(config.TOP_LEVEL) == {"data", "release_dtype", "recipes"} | {keys[0] for keys in SECTIONS}
    assert tuple(config.read_params()) == config.TOP_LEVEL
    config.require_known_sections()


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ("encoding", "sources"),
        ("infer", "sources"),
        ("finetune", "sources"),
        ("check", "sources"),
        ("attacks", "attacks"),
        ("metrics", "metrics"),
        ("observations", "observations"),
        ("probes", "probes"),
    ],
)
def test_every_component_has_a_block_and_every_block_a_component(section, kind):
    assert sorted(config.block(section)) == registry.names(kind)


def test_what_sources_share_is_checked_as_well():
    shared = {key: value for key, value in config.block("prepare").items() if key not in SOURCES}
    config.parse(preparation.Config, shared, "prepare")


def test_the_chosen_names_exist():
    assert config.block("data") in SOURCES
    assert config.block("release_dtype") in models.DTYPES
    grid = config.section(Grid, "grid")
    assert set(grid.recipes) <= set(config.block("recipes"))
    assert set(grid.attacks) <= set(registry.names("attacks"))
    assert set(config.section(probing.Config, "probe").run) <= set(registry.names("probes"))
