"""Where data comes from: one file a source, each with ``Config``, ``PUBLIC_TEXT`` and ``load(config)``."""
