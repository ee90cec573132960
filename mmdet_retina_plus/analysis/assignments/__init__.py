"""Which priors a head trains as positive, ignored and negative, drawn.

Nothing here decides that. Every head is asked for its loss on one image, and
what it calls its own targets, assigner and loss with is read (`read_*`).
"""
