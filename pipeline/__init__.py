"""The Apache Beam pipeline: archives of raw scans in, registered face geometry out."""
