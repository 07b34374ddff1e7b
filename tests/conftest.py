"""Settings of the whole suite."""

from hypothesis import settings

# A busy machine makes single examples slow; the suite has its own time limit.
settings.register_profile("bdpo", deadline=None)
settings.load_profile("bdpo")
