"""The staged robust fit of a morphable model to a located scan."""
