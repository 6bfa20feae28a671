"""Pictures of surfaces in the model frame: cameras, shading, and what is written and drawn over them."""
