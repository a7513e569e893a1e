"""What is done to the weights outside of the loop: one file an edit, each with ``Config`` and ``edit(...)``.

``edit(model, material, config) -> Curve`` changes ``model`` in place and returns a learning curve, empty when nothing
is trained. ``material`` (:class:`lethe.material.Material`) is all that an edit may look at.
"""
