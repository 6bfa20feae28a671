"""3D shape analysis of faces: NumPy, SciPy and Open3D, no TensorFlow, no Beam.

Inside this package lengths are millimetres and angles radians. The model frame has its origin at
the mean shape's nose tip, x to the subject's left, y up, z out of the face.
"""
