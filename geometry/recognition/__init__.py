"""Which of the proposed places shows a face."""
