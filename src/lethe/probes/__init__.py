"""What a model still holds inside: one file a probe, each with ``Config`` and ``probe(...)``.

``probe(subjects, config, bootstrap) -> dict[str, Score | list]`` compares the residual stream of the unlearned model
with those of target and retain model on the forget questions (:class:`lethe.residuals.Subjects`). A probe reads
weights and activations, so it says something of an attacker who has them, and nothing of one who has only answers.
"""
