"""Metrics and the report of a finished run."""
