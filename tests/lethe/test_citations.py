from lethe import citations, config


def test_a_paper_is_named_above_the_recipe_or_above_its_suite_or_by_its_parts():
    papers = citations.papers()
    assert list(papers) == list(config.block("recipes"))
    assert papers["simnpo"] == "2410.07163"  # above it
    assert papers["sure-npo-kl-no-mask"] == "2410.16454"  # above sure-npo-kl
    assert papers["npo_sago"] == "2404.05868"  # its forget objective's
    assert [name for name, paper in papers.items() if not paper] == []


def test_a_recipe_without_a_comment_or_on_one_line_is_cited_by_its_parts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(
        "recipes:\n"
        "  # Somebody, 2024, arXiv:2401.00001.\n"
        "  first: {forget_objective: {name: npo}}\n"
        "  'second': {forget_objective: {name: npo}, retain_objective: null, combiner: null, optimizer: null,\n"
        "    mask: null, wrapper: null, edit: null}\n"
    )
    assert citations.papers() == {"first": "2401.00001", "second": "2404.05868"}
    assert citations.above() == {"first": "Somebody, 2024, arXiv:2401.00001."}


def test_recipes_that_all_stand_in_one_line_have_no_comments(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("recipes: {}  # none yet\ngrid:\n  # no recipe:\n  npo:\n")
    assert citations.above() == {}
