"""Ways to bring the knowledge back: one file a family, each with ``Config`` and ``conditions(...)``."""
