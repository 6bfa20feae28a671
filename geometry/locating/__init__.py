"""Where a face may be in a scan."""
