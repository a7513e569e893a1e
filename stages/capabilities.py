"""Ask a model the multiple-choice tasks of lm-eval.    python -m stages.capabilities --model target"""

import logging

from lethe import artifacts, capabilities, config, doors


def main(model: str) -> None:
    """Write data/capabilities/<model>.json."""
    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # its warnings are about how it is called, not about results
    settings = config.section(capabilities.Config, "capabilities")
    artifacts.write_json(artifacts.capabilities(model), capabilities.measure(artifacts.model(model), settings))


if __name__ == "__main__":
    doors.run(main)
