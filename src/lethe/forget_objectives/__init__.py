"""What a step does to the forget batch: one file a loss, each with ``Config`` and ``loss(...)``."""
