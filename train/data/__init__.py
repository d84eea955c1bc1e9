"""Training and validation data: from COCO datasets to batches of tensors."""
