"""Detectors, one small file per family."""
