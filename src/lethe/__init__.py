"""Lethe removes what a language model should not know, then tries to bring it back."""
