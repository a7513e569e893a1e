"""What a step does for the retain batch: one file a loss, each with ``Config`` and ``loss(...)``."""
