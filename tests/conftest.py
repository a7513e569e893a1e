"""Settings that every test shares."""

from hypothesis import settings

# On a busy machine a first call of torch takes longer than the 200 ms that hypothesis allows an example.
settings.register_profile("lethe", deadline=None)
settings.load_profile("lethe")
