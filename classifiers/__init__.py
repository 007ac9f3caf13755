"""Reads a task and assesses it: sensitivity, access, intent, task and complexity."""
