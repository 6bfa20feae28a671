"""What is computed on surfaces: triangles, normals, rays, nearest points, Laplacians, noise."""
