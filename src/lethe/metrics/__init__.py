"""Arithmetic on records, one file a metric; none sees a model. ``lethe.scores`` says what each owes."""
