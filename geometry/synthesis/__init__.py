"""Sampled faces, occluders, and simulated sensors."""
