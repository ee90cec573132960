"""Evaluation of detections: AP, errors, scores, and a page."""
