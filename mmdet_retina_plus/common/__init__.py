"""What several rooms share; it imports nothing of theirs.

Modules here must import without torch, mmcv, mmengine and mmdet, so that
`retina-plus` can say what is missing: they import those inside functions, or
are themselves imported there.
"""
