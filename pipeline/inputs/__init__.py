"""What there is to process, and its bytes."""
