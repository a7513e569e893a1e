"""Load the data that ``params.yaml`` names, check it and split it.    python -m stages.prepare"""

from lethe import artifacts, config, doors, preparation, registry


def main() -> None:
    """Write data/prepared from the source that params.yaml names."""
    source = config.block("data")
    module = registry.load("sources", source)
    settings = config.section(module.Config, "prepare", source)
    loaded = module.load(settings)
    shared = {key: value for key, value in config.block("prepare").items() if key not in registry.names("sources")}
    with artifacts.replacing(artifacts.PREPARED) as folder:
        preparation.write(
            folder,
            loaded,
            config.parse(preparation.Config, shared, "prepare"),
            source=source,
            public_text=module.PUBLIC_TEXT,
        )


if __name__ == "__main__":
    doors.run(main)
