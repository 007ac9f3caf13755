"""Ledger lines as files that finance's tools read: CSV, JSON, Parquet, workbooks and FOCUS."""
