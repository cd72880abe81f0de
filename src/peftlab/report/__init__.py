"""Runs as evidence: statistics, the paper's tables, and one page to read. Reads records, never models."""
