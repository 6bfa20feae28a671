"""Files, TFRecords and saved images, on any filesystem that Beam knows."""
