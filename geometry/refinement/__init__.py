"""Refinement without a network, and the check of what a network refined."""
