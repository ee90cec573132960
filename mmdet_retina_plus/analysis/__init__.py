"""What a loss is called with, how it is distributed, and pictures of it."""
