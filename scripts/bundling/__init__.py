"""The parts of scripts/bundle.py, which bundles the project for a machine without network.

`target`, `have` and `resolve` are pure; `index` queries package indexes and runs pip; `contents` reads and writes
folders. `run.sh` and `check_target.py` are copied into every bundle and run on the target machine.
"""
