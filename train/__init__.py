"""Stage 2: train Mask R-CNN from scratch with Detectron2. The only place with torch and detectron2."""
