"""From COCO datasets to batches of tensors."""
