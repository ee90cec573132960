"""Trained detectors as ONNX files, compared with their checkpoints."""
