"""The parts of scripts/bundle.py, which carries the project to a machine without network.

`target`, `have` and `resolve` decide and touch nothing; `index` asks package indexes and runs pip; `contents` reads and
writes folders. `run.sh` and `check_target.py` are copied into every bundle and run on the machine that it is carried
to.
"""
