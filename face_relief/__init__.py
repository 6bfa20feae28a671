"""face-relief in ten lines: a raw 3D face scan in, registered and refined geometry out.

    import face_relief

    result = face_relief.process("scan.ply")        # or a Scan that `face_relief.read` gave, and settings such as "refine=smooth"
    result.registered.vertices                      # (n, 3), the scan's own coordinates; result.model.triangles are its triangles
    result.landmarks.points                         # (68, 3), with .covariance, .confidence and .seen
    result.save("out")                              # the files that a run writes for one scan

Archives are for the command line (`face-relief run`), which resumes, spreads over cores and reports.
"""

from face_relief.api import Model, Result, load_model, process, read

__all__ = ["Model", "Result", "load_model", "process", "read"]
