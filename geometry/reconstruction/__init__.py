"""From a refined geometry image back to meshes."""
