"""Loops around a step: one file a wrapper, each with ``Config`` and ``backward``, ``has_gradient`` or ``after_step``.

A recipe may have several, in order, each name once; at most one of them takes the forget gradient in its own way. It
has ``backward(pieces, model, config, context) -> float``, which adds the gradient of the forget loss, taken so, to
``parameter.grad`` and returns the plain loss. ``pieces`` (``perturbation.Piece``: what to call, and the batch that it
is about) have values that sum to the forget loss of the step at the weights as they stand; the weights must be back,
bit for bit, when it returns. ``context.step`` is the number of the step, ``context.sample`` draws rows beside those of
the step, ``context.memory`` holds named tensors that outlive it, and in ``context.precision()`` a wrapper's own
forwards run. A wrapper that evaluates the pieces more than once lets them draw the same, and what is drawn after it
does not hang on it (``perturbation.Draws``). With ``model_steps`` in its ``Config``, so many steps in turn see the
same rows; ``apart(examples, config, seed)`` divides the forget rows into those of the steps and those that it draws
itself, as ``adversary`` rows.

In several processes the pieces are those of the process's own rows, and what ``backward`` adds and returns is summed
over all of them afterwards. So what is no sum has to be made of ``perturbation.gradient``, which is summed already and
which ``perturbation.add_to_gradients`` counts once; a loss on rows that every process has counts 1 / size.

A gate leaves the forget gradient of a step as it is or drops it, whichever wrapper took it. It has
``has_gradient(loss, config) -> bool``, asked with the plain loss of the step, that of all processes; a dropped gradient
is zero wherever it reached. A mask that is chosen anew is chosen by the gradient as it was.

Others look at the iterates and leave the gradient alone. ``after_step(model, step, config, memory, context)`` is called
when a step is done and what the mask keeps is back; ``memory`` holds named tensors that outlive the step and are part
of checkpoints; numbers by name that it returns stand in the step's entry of the curve. ``enough(numbers, config)`` says
of such an entry whether training ends there. ``finish(model, config, memory)`` is called after the last step and may
change the weights. All wrappers are called in the order of the recipe, and what one of them remembers or tells begins
with its own name. They are called in every one of several processes, which hold the same weights or parts of them, and
must come to the same end there.

A wrapper that goes by the place of a token in its row says so with ``GOES_BY_PLACE = True``: then no two answers share
a row (``losses.pair_log_probs``).

Any wrapper may have ``check(model, config)``, which raises ConfigError for a model that the settings do not fit. It is
called before training.
"""
