"""A detection as a COCO result file has it."""


def detection(score=0.8, box=(10, 10, 20, 30), image=1, category=1, **more):
    return dict(
        image_id=image,
        category_id=category,
        bbox=list(box),
        score=score,
        **more,
    )
