"""COCO datasets and results: read, checked, written, measured. The ground floor of scarcedet; never imports torch."""

__version__ = "0.3.0"
