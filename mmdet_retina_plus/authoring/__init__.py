"""Write a first config for annotation files: `retina-plus init`."""
