"""Landmarks as estimates with covariances: from heatmaps, from several views, from a registered mesh, from files."""
