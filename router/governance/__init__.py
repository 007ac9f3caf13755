"""Use cases of those who govern, shared by every surface."""
