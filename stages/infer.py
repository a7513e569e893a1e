"""Ask a model every question under an attack family.    python -m stages.infer --model npo-0 --attack none"""

from lethe import artifacts, config, doors, inference, models, records, registry
from lethe.batches import Encoding
from lethe.rows import read_rows


def main(model: str, attack: str) -> None:
    """Write what a model (target, retain or an unlearned cell such as npo-0) says under an attack family."""
    settings = config.section(inference.Config, "infer", str(config.block("data")))
    family = registry.load("attacks", attack)
    attack_settings = config.section(family.Config, "attacks", attack)
    encoding = config.section(Encoding, "encoding", str(config.block("data")))
    rows = read_rows(artifacts.QUESTIONS)
    folder = artifacts.model(model)
    asked, tokenizer = models.load(folder, dtype=settings.compute_dtype), models.load_tokenizer(folder)
    conditions = family.conditions(asked, attack_settings)
    answers = inference.ask(asked, tokenizer, rows, conditions, encoding, settings)
    with artifacts.replacing(artifacts.records(model, attack)) as temporary:
        records.write(temporary, answers)


if __name__ == "__main__":
    doors.run(main)
