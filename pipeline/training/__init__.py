"""Training sets: pairs, views and example scans, in shards."""
