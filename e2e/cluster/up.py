# SPDX-License-Identifier: Apache-2.0
"""Starts test clusters for work by hand, until it is stopped.

    python3 -m e2e.cluster.up 3 --dir /tmp/clusters
    python3 -m e2e.cluster.up dev staging prod --dir /tmp/clusters

Run from the root of the work tree, after
`bazel build //e2e/cluster/controlplane //e2e/cluster/kwok`; or
`bazel run //e2e/cluster:up -- 3 --dir /tmp/clusters`.
"""

import argparse
import signal

from e2e.cluster.cluster import ADMIN, AGENT, JANE
from e2e.cluster.fleet import Fleet
from e2e.testing.processes import exit_on_signals


def main():
    parser = argparse.ArgumentParser(
        description="Starts Kubernetes clusters on this machine and stays "
        "until it is stopped (Ctrl-C)."
    )
    parser.add_argument(
        "clusters", nargs="+", metavar="N|NAME",
        help="how many clusters, or their names",
    )
    parser.add_argument(
        "--dir", help="where kubeconfigs, logs and data go; cleared at first"
    )
    arguments = parser.parse_args()
    names = arguments.clusters
    if len(names) == 1 and names[0].isdigit():
        names = int(names[0])
    exit_on_signals()
    fleet = Fleet(names, arguments.dir)
    fleet.start(progress=lambda line: print(line, flush=True))
    try:
        for cluster in fleet:
            print(f"{cluster.name}  {cluster.url}")
            for user in (ADMIN, AGENT, JANE):
                print(f"  {user:15} {cluster.kubeconfig(user)}")
            print(f"  {'audit log':15} {cluster.audit_log.path}")
        print("Running; Ctrl-C stops them.", flush=True)
        while True:
            signal.pause()
    finally:
        fleet.stop()


if __name__ == "__main__":
    main()
