"""Offline: the shipped template is built and its morphable model learned here."""
