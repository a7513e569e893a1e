"""Evaluation logs of other projects, read into our own values and scores."""
