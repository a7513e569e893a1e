"""Train a control model on what it may know.    python -m stages.finetune --control target"""

from pathlib import Path

from lethe import artifacts, batches, config, doors, finetuning, launching, models
from lethe.checkpoints import Checkpoints, fingerprint
from lethe.rows import read_rows


def main(control: str) -> None:
    """Write the target model (forget and retain) or a retain model (never forget), and its learning curve."""
    launching.start()
    settings = config.section(finetuning.Config, "finetune", str(config.block("data")))
    settings = finetuning.of_control(settings, control)
    encoding = config.section(batches.Encoding, "encoding", str(config.block("data")))
    retain = read_rows(artifacts.RETAIN) + (read_rows(artifacts.UTILITY) if settings.rehearsal else [])
    rows = retain + (read_rows(artifacts.FORGET) if control == "target" else [])
    model, tokenizer, is_ready = finetuning.start(settings, control, retain)
    inputs = fingerprint(settings, encoding, artifacts.PREPARED, Path(settings.base or artifacts.BASE))
    checkpoints = Checkpoints(artifacts.scratch(control), inputs)
    examples = [] if is_ready else batches.encode_rows(tokenizer, rows, encoding)
    curve = finetuning.finetune(
        model, tokenizer, examples, settings, checkpoints=checkpoints, title=f"finetune {control}"
    )
    models.save_trained(model, tokenizer, control, curve, dtype=str(config.block("release_dtype")))
    checkpoints.clear()


if __name__ == "__main__":
    doors.run(main)
