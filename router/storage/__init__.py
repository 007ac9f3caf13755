"""Redis and SQL behind the ports."""
