"""The morphable model, its file formats, landmark schemes and their embedding."""
