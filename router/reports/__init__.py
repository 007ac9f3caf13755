"""Reports: queries to frozen rows to tables, CSV and JSON."""
