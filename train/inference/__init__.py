"""From checkpoints and images to COCO results files."""
