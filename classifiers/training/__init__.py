"""Fits the models from the corpus, reproducibly."""
