"""A chart is a family of rays over a pixel grid; an image of a surface over it is a geometry image."""
