"""Inference: from checkpoints and images to COCO results files."""
