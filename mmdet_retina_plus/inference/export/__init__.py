"""Export of trained detectors to ONNX, checked against the checkpoint."""
