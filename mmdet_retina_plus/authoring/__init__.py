"""A first config for annotation files, as `retina-plus init` writes it."""
