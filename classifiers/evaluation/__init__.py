"""Measures the classifiers on labelled data, mark by mark."""
