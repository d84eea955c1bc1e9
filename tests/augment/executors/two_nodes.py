"""A Ray cluster of two nodes on this machine, for test_ray_cluster: says its address, and kills a node when told to.

A process of its own, so that nothing of Ray is left in the one that runs the tests.
"""

from __future__ import annotations

import os
import sys
from itertools import chain
from typing import Any

# All of it on the loopback address; Ray reads these when it is imported.
os.environ.update(RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0", RAY_USAGE_STATS_ENABLED="0")

from ray.cluster_utils import Cluster

NODE: dict[str, Any] = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "object_store_memory": 100_000_000}


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    second = cluster.add_node(**NODE)
    try:
        for answer in chain([cluster.address], map(str.strip, sys.stdin)):
            if answer == "kill":
                cluster.remove_node(second, allow_graceful=False)
            sys.stdout.write(f"{answer}\n")
            sys.stdout.flush()
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
