"""One scan from its bytes to its files, without Beam."""
