"""Stage 2: training Mask R-CNN from scratch with Detectron2. The only package that imports torch and detectron2."""
