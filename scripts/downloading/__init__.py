"""The parts of scripts/download_coco.py and scripts/download_bccd.py.

`transfer` fetches a file over HTTP and survives what networks do; `archives` refuses zip files that would do harm;
`voc` converts Pascal VOC's annotations to COCO's, and is pure; `bccd` knows BCCD's files and what must come of them.
"""
