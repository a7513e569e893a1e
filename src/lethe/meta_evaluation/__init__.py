"""Which metric deserves belief: metrics measured on models of which the truth is known.

- *Faithfulness*: the chance that a metric puts a model that was trained on the forget set above one that was not (AUC).
- *Robustness*: an attack that teaches nothing new should not bring a metric of an unlearned model back. Under
  relearning the unlearned model may gain what the retain model gains, under quantization nothing at all.
- *Overall*: the harmonic mean of both.

Source: OpenUnlearning, arXiv:2506.12618. Reads score files and nothing else; no model is loaded.
"""
