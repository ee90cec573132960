"""Show which priors a head trains as positive, ignored and negative.

Assignments are not recomputed here. The loss of a head is run on an image, and
the arguments of its targets, assigner and loss are recorded (`read_*`).
"""
