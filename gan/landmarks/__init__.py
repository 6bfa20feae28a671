"""The heatmap network that finds landmarks: network, data, training, inference."""
