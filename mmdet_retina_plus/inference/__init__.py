"""Detection in images of any size, and fusion of results."""
