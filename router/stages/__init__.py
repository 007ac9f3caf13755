"""The stages of the line, one verb a file."""
