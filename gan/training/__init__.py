"""What every training shares: the loop, checkpoints, curves, optimizer, records."""
