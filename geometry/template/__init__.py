"""Offline: the shipped template is built here."""
