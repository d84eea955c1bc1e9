"""The network: Detectron2's Mask R-CNN with group norm, and heads that follow the ignore rule."""
