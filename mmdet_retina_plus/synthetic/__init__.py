"""Generated data sets in COCO format, with exact instance masks."""
