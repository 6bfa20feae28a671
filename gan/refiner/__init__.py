"""The kernel-predicting refiner: networks, losses, data, training, validation."""
