"""What a COCO dataset is: reading, checking, writing; the ground floor of scarcedet. Never imports torch."""

__version__ = "0.1.0"
