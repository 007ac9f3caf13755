"""The HTTP surface: wire formats in, wire formats out."""
