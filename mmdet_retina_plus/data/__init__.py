"""Data that is generated, and transforms of data that is loaded."""
