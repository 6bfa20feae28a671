"""`python -m face_relief` and the command `face-relief`; that this package comes first lets it name what hides the others."""

import sys

from pipeline.cli import main

if __name__ == "__main__":
    sys.exit(main())
