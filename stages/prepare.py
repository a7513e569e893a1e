"""Load the data that ``params.yaml`` names, check it and split it.    python -m stages.prepare"""

from lethe import artifacts, config, doors, preparation, registry


def main() -> None:
    """Write data/prepared from the source that params.yaml names."""
    source = config.block("data")
    module = registry.load("sources", source)
    settings = config.section(module.Config, "prepare", source)
    loaded = module.load(settings)
    shared = {key: value for key, value in config.block("prepare").items() if key not in registry.names("sources")}
    config.parse(preparation.Config, shared, "prepare")
    num_retain_questions = config.block("prepare", "num_retain_questions", source)
    with artifacts.replacing(artifacts.PREPARED) as folder:
        public = module.PUBLIC_TEXT
        preparation.write(folder, loaded, num_retain_questions, source=source, public_text=public)


if __name__ == "__main__":
    doors.run(main)
