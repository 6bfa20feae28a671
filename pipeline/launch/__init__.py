"""From a command to a finished output folder."""
