"""Turn a model's records into its scores: python -m stages.score --model npo-0."""

from lethe import artifacts, config, doors, interviews, scoring


def main(model: str) -> None:
    """Score a model (target, retain or an unlearned cell) against both controls; no model is loaded."""
    settings = config.section(scoring.Config, "score")
    wanted = scoring.metrics()
    attacks = config.block("grid", "attacks")
    said = {name: interviews.read(name, attacks) for name in {model, *artifacts.CONTROLS}}
    scores = scoring.as_json(scoring.score(said[model], said["target"], said["retain"], wanted, settings))
    artifacts.write_json(artifacts.scores(model), scores)
    artifacts.write_json(artifacts.metrics(model), scoring.headline(scores))


if __name__ == "__main__":
    doors.run(main)
