"""Analysis of anchors, assignments, losses, detections and logs."""
