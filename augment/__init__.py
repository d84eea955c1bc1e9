"""Stage 1, a deterministic compiler: COCO datasets in, an expanded COCO dataset on disk out."""
