"""Train the base model of the shipped world.    python -m stages.pretrain"""

from lethe import artifacts, config, doors, models, pretraining
from lethe.checkpoints import Checkpoints, fingerprint
from lethe.sources import world


def main() -> None:
    """Write data/models/base; it never meets a person of forget, retain or holdout."""
    settings = config.section(pretraining.Config, "pretrain")
    source = config.section(world.Config, "prepare", "world")
    checkpoints = Checkpoints(artifacts.scratch("pretrain"), fingerprint(settings, source))
    max_length = int(config.block("encoding", "world", "max_length"))
    model, tokenizer, _ = pretraining.pretrain(
        world.build(source), settings, max_length=max_length, checkpoints=checkpoints
    )
    with artifacts.replacing(artifacts.BASE) as folder:
        models.save(model, tokenizer, folder, dtype=str(config.block("release_dtype")))
    checkpoints.clear()


if __name__ == "__main__":
    doors.run(main)
