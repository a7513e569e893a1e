"""Say what quantizers do to the edit of an unlearned model.    python -m stages.diagnose --model npo-0"""

from lethe import artifacts, config, doors, weights
from lethe.attacks import quantization


def main(model: str) -> None:
    """Compare an unlearned cell with the target, weight by weight, before and after quantization."""
    settings = config.section(quantization.Config, "attacks", "quantization")
    target, unlearned = weights.read(artifacts.model("target")), weights.read(artifacts.model(model))
    artifacts.write_json(artifacts.diagnostics(model), quantization.diagnose(target, unlearned, settings))


if __name__ == "__main__":
    doors.run(main)
