"""Offline: learns the shipped model on the template, measures it and draws its card."""
