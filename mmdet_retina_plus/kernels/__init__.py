"""Box arithmetic and GPU kernels: plain functions on tensors."""
