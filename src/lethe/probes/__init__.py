"""What a model still holds: one file a probe, each with ``Config`` and ``probe(...)``.

``probe(subjects, config, bootstrap) -> dict[str, Score | list]`` compares the unlearned model with target and retain
model on the forget questions (:class:`lethe.residuals.Subjects`). Most probes read weights and activations and say
something of an attacker who has them, and nothing of one who has only answers; ``sampling`` draws answers.
"""
