# SPDX-License-Identifier: Apache-2.0
"""Kubernetes clusters on this machine, started and stopped together.

    with Fleet(["dev", "prod"], directory="/tmp/x") as fleet:
        fleet["dev"].client().list("Pod")
        run("agent", "--kubeconfig", fleet["dev"].kubeconfig(AGENT))

All listen on loopback. Everything lies in `directory`: kubeconfigs, logs, audit
logs, etcd's data. The processes die with this program.
"""

import concurrent.futures
import fcntl
import pathlib
import shutil
import tempfile
import time

from e2e.cluster.cluster import Cluster, run_component
from e2e.testing.processes import free_port


class Fleet:
    """Clusters that share an etcd; started together, stopped together.

    A directory of its own is made, and removed by stop(), when none is given.
    A given one may hold what an earlier run left, which is cleared away; a
    lock file in it keeps a second run out.
    """

    def __init__(self, names, directory=None, nodes=1):
        """`names` is a list of cluster names, or their number."""
        if isinstance(names, int):
            names = [f"cluster-{i + 1}" for i in range(names)]
        self._owns_directory = directory is None
        self.directory = pathlib.Path(
            directory or tempfile.mkdtemp(prefix="flotilla-clusters-")
        ).absolute()
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lock = self._take_lock()
        self._etcd = None
        self._etcd_port = free_port()
        self.clusters = [
            Cluster(
                name, self.directory / name,
                f"http://127.0.0.1:{self._etcd_port}", nodes,
            )
            for name in names
        ]

    def start(self, progress=lambda line: None):
        """Starts everything; returns once all clusters run pods.

        `progress` is told each step with the seconds since the start.
        """
        began = time.monotonic()

        def tell(step):
            progress(f"{time.monotonic() - began:5.1f} s  {step}")

        try:
            for cluster in self.clusters:
                shutil.rmtree(cluster.directory, ignore_errors=True)
            self._start_etcd()
            tell("etcd runs")
            for cluster in self.clusters:
                cluster.launch_api_server()
            with concurrent.futures.ThreadPoolExecutor(
                max_workers=max(1, len(self.clusters))
            ) as pool:

                def finish(cluster):
                    cluster.launch_controllers()
                    tell(f"{cluster.name}: API server ready at {cluster.url}")
                    cluster.wait_usable()
                    tell(f"{cluster.name}: node ready")

                list(pool.map(finish, self.clusters))
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self):
        """Kills every process and lets go of the directory."""
        for cluster in self.clusters:
            cluster.stop()
        if self._etcd:
            self._etcd.kill()
        if self._owns_directory:
            shutil.rmtree(self.directory, ignore_errors=True)
        self._lock.close()

    def __getitem__(self, name):
        for cluster in self.clusters:
            if cluster.name == name:
                return cluster
        raise KeyError(name)

    def __iter__(self):
        return iter(self.clusters)

    def __len__(self):
        return len(self.clusters)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    def _start_etcd(self):
        data = self.directory / "etcd"
        shutil.rmtree(data, ignore_errors=True)
        client = f"http://127.0.0.1:{self._etcd_port}"
        peer = f"http://127.0.0.1:{free_port()}"
        self._etcd = run_component("etcd", [
            f"--data-dir={data}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            # A cluster of one has nobody to wait for.
            "--heartbeat-interval=50", "--election-timeout=250",
            f"--quota-backend-bytes={8 << 30}",
        ], self.directory, "etcd")
        self._etcd.wait_for_log("ready to serve client requests")

    def _take_lock(self):
        lock = open(self.directory / "lock", "w", encoding="ascii")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise RuntimeError(
                f"{self.directory} is in use by another run; stop that one "
                "or give another directory"
            ) from None
        return lock
