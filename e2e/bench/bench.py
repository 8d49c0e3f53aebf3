# SPDX-License-Identifier: Apache-2.0
"""Measures Flotilla on three real API servers and prints a table.

    bazel run //e2e/bench -- [--runs 5] [--rows 1x10,50x1,…] [--rest 60]

Or `python3 -m e2e.bench.bench` from the root of the work tree once everything
is built. docs/benchmarks.md says what the rows are and what came out.
"""

import argparse
import contextlib
import os
import pathlib
import platform
import sys
import time

from e2e.bench.clock import VERSION, ObjectWatch
from e2e.bench.figures import (
    Samples, markdown, mebibytes, milliseconds, seconds,
)
from e2e.cluster.cluster import AGENT, JANE
from e2e.story.documents import (
    bundle, config_map, deployment, git_repo, namespace, text,
)
from e2e.story.scene import Scene, is_available
from e2e.testing.processes import (
    cpu_seconds, exit_on_signals, resident_bytes, wait_until,
)

CLUSTERS = ("dev", "staging", "prod")
NAMESPACE = "bench"
DRIFTS = 60
# What we aim at, and what Rancher Fleet needs for the same work on the same
# kind of machine (docs/benchmarks.md).
AIMS = {
    "1x10": "0.10 / 0.12 s",
    "50x1": "0.5 / 0.6 s",
    "1x500": "1.8 / 2 s",
    "change": "0.05 / 0.07 s",
    "removal": "0.4 s",
    "value": "9 to 13 ms",
    "deletion": "9 to 13 ms",
    "replicas": "9 to 13 ms",
    "again": "0 requests",
    "agent": "20 / 22 / 28 MiB",
    "manager": "60 MiB",
    "rest": "0.01 s agent, 0.05 s manager",
}
FLEET = {
    "1x10": "0.87 / 1.08 s",
    "50x1": "22.1 / 34.1 s",
    "1x500": "8.7 / 10.4 s",
    "change": "0.58 / 0.80 s",
    "removal": "40.7 s",
    "value": "5.1 s", "deletion": "5.1 s", "replicas": "5.1 s",
    "agent": "79 / 116 / 260 MiB",
    "manager": "209 to 267 MiB",
    "rest": "0.05 s agent, 0.24 s manager",
}
ROWS = ("clock", "1x10", "50x1", "again", "git", "drift", "1x500", "rest")


class Bench:
    """One scene, and the measurements in it. `results` are table rows."""

    def __init__(self, scene, runs, drifts=DRIFTS, rest=60, out=sys.stderr):
        self.scene = scene
        self.runs = runs
        self.drifts = drifts
        self.rest = rest
        self.results = []
        self._out = out
        self._clocks = {}
        self._memory = {}
        self._version = 0

    def prepare(self):
        """The namespace and the watches, before anything is measured."""
        for name in self.scene.labels:
            self.scene.admin(name).apply(namespace(NAMESPACE))
            self._clocks[name] = ObjectWatch(
                self.scene.fleet[name].client(), "ConfigMap", NAMESPACE
            )
        self.note_memory("fresh")

    def run(self, rows):
        for row in rows:
            getattr(self, "measure_" + row)()
        self.report_memory()

    def close(self):
        """Before the clusters stop, of which the watches would complain."""
        for clock in self._clocks.values():
            clock.stop()

    # Work: bundles over the admin API, without Git.

    def measure_1x10(self):
        there, ready, note = self._deliveries("1x10", 1, 10, 10_000)
        self._add("1 x 10: there / Ready", there, ready, "1x10", note)

    def measure_1x500(self):
        there, ready, note = self._deliveries("1x500", 1, 500, 1000)
        self._add("1 x 500: there / Ready", there, ready, "1x500", note)

    def measure_50x1(self):
        changed = (Samples(), Samples())
        removed = Samples()

        def meanwhile(bundles, names):
            self._change_one(bundles, changed)

        there, ready, note = self._deliveries(
            "50x1", 50, 1, 10_000, meanwhile, removed
        )
        self._add("50 x 1: there / Ready", there, ready, "50x1", note)
        self._add("one of 50 x 1 changed: there / Ready", *changed, "change")
        self.results.append((
            "50 x 1 removed, until gone", seconds(removed.median()),
            seconds(removed.worst()), AIMS["removal"], FLEET["removal"], "",
        ))

    def _deliveries(
        self, row, bundles, objects, size, meanwhile=None, removed=None,
    ):
        there, ready, cpu = Samples(), Samples(), Samples()
        for run in range(self.runs):
            docs, names = self._work(f"{row}-{run}", bundles, objects, size)
            marks = self.scene.marks()
            before = self._cpu()
            began = time.monotonic()
            self.scene.apply(*docs)
            there.add(self._there(names) - began)
            self._all_ready(bundles)
            ready.add(time.monotonic() - began)
            cpu.add(sum(self._cpu().values()) - sum(before.values()))
            self._say(
                f"{row}, run {run + 1}: there {seconds(there.values[-1])}, "
                f"Ready {seconds(ready.values[-1])}; CPU "
                + self._cpu_since(before)
            )
            requests = self._requests(marks)
            self._verify(docs, names)
            self.note_memory(row)
            if meanwhile:
                meanwhile(docs, names)
            gone = self._remove(docs, names)
            if removed is not None:
                removed.add(gone)
                self._say(f"{row}, run {run + 1}: gone {seconds(gone)}")
        note = (
            f"CPU {cpu.median():.2f} s; requests in a cluster: "
            f"{requests[0] / len(self._clocks):.0f} reads, "
            f"{requests[1] / len(self._clocks):.0f} writes"
        )
        return there, ready, note

    def _work(self, name, bundles, objects, size):
        """(Bundle documents, names of their ConfigMaps), of a new version."""
        self._version += 1
        docs, names = [], set()
        for i in range(bundles):
            carried = []
            for j in range(objects):
                names.add(f"{name}-{i}-{j}")
                carried.append(self._object(f"{name}-{i}-{j}", size))
            docs.append(bundle(f"{name}-{i}", carried, namespace=NAMESPACE))
        return docs, names

    def _object(self, name, size):
        # No two objects have the same bytes.
        filler = (name + " ") * (size // (len(name) + 1) + 1)
        return config_map(
            name, {"filler": filler[:size]}, NAMESPACE,
            labels={VERSION: str(self._version)},
        )

    def _change_one(self, docs, samples):
        self._version += 1
        name = docs[7]["metadata"]["name"]
        doc = bundle(
            name, [self._object(f"{name}-0", 10_000)], namespace=NAMESPACE
        )
        generations = self._generations()
        began = time.monotonic()
        self.scene.apply(doc)
        samples[0].add(self._there({f"{name}-0"}) - began)
        self._all_ready(len(docs), generations, changed=1)
        samples[1].add(time.monotonic() - began)
        self._say(f"one change: there {seconds(samples[0].values[-1])}, "
                  f"Ready {seconds(samples[1].values[-1])}")

    def _remove(self, docs, names):
        file = self.scene.directory / "remove.yaml"
        file.write_text(text(*docs), encoding="utf-8")
        began = time.monotonic()
        self.scene.manager.cli("delete", "-f", file)
        gone = max(clock.gone(names) for clock in self._clocks.values())
        wait_until(
            lambda: not self.scene.deployments(), 60, "end of deployments"
        )
        return gone - began

    def _there(self, names):
        return max(
            clock.reached(names, str(self._version))
            for clock in self._clocks.values()
        )

    def _generations(self):
        return {
            (d["bundle"], d["cluster"]): d["generation"]
            for d in self.scene.deployments()
        }

    def _all_ready(self, bundles, before=None, changed=0):
        count = bundles * len(self._clocks)

        def ready():
            found = self.scene.deployments()
            newer = sum(
                before.get((d["bundle"], d["cluster"])) != d["generation"]
                for d in found
            ) if before else 0
            return (
                len(found) == count
                and all(d["state"] == "Ready" for d in found)
                and (not before or newer == changed * len(self._clocks))
            )

        wait_until(ready, 120, "Ready", every=0.005)

    def _verify(self, docs, names):
        """Every object in every cluster is equal to its manifest."""
        for name in self._clocks:
            live = {
                o["metadata"]["name"]: o["data"]
                for o in self.scene.admin(name).list("ConfigMap", NAMESPACE)
            }
            for wanted in names:
                size = len(live[wanted]["filler"])
                assert live[wanted] == self._object(wanted, size)["data"], (
                    f"{name}: {wanted} is not what it should be"
                )

    # The same again.

    def measure_again(self):
        docs, names = self._work("again", 50, 1, 10_000)
        self.scene.apply(*docs)
        self._there(names)
        self._all_ready(50)
        time.sleep(2)
        for what, act in (
            ("the same documents applied again",
             lambda: self.scene.apply(*docs)),
            ("a new session: the manager killed and started",
             self._restart_manager),
            ("the agents killed and started", self._restart_agents),
        ):
            marks = self.scene.marks()
            act()
            self._all_ready(50)
            time.sleep(1)
            reads, writes = self._requests(marks)
            self.results.append((
                f"50 x 1, {what}",
                f"{writes} writes, {reads} reads", "", AIMS["again"], "",
                "watches not counted; all clusters",
            ))
            self._say(f"{what}: {writes} writes, {reads} reads")
        self._remove(docs, names)

    def _restart_manager(self):
        self.scene.manager.restart()
        self.scene.wait_online()

    def _restart_agents(self):
        epochs = {
            name: self.scene.cluster(name)["frames"]["epoch"]
            for name in self._clocks
        }
        for agent in self.scene.agents.values():
            agent.restart()
        wait_until(
            lambda: all(
                self.scene.cluster(name).get("online")
                and self.scene.cluster(name)["frames"]["epoch"] != epoch
                for name, epoch in epochs.items()
            ), 60, "new sessions",
        )

    def _requests(self, marks):
        """(reads, writes) of the agents since; watches are not counted."""
        reads = writes = 0
        for name, mark in marks.items():
            for event in self.scene.fleet[name].audit(since=mark, user=AGENT):
                if event["verb"] in ("get", "list"):
                    reads += 1
                elif event["verb"] != "watch":
                    writes += 1
        return reads, writes

    # Git.

    def measure_git(self):
        repo = self.scene.repo("bench")
        names = {f"git-{i}" for i in range(10)}

        def commit():
            self._version += 1
            return repo.commit({
                f"app/{name}.yaml": text(self._object(name, 10_000))
                for name in names
            }, f"version {self._version}")

        commit()
        self.scene.apply(git_repo(
            "bench", self.scene.url("bench"), ["app"],
            targetNamespace=NAMESPACE,
        ))
        self.scene.sync("bench")
        self.scene.wait_ready(git_repo="bench")
        there, ready = Samples(), Samples()
        for _ in range(self.runs):
            head = commit()
            began = time.monotonic()
            self.scene.sync("bench")
            there.add(self._there(names) - began)
            self.scene.wait_ready(git_repo="bench", commit=head)
            ready.add(time.monotonic() - began)
        self._add("commit of 10 changed objects, sync: there / Ready", there,
                  ready)
        self.scene.delete("gitrepo", "bench")
        self.scene.wait_gone(git_repo="bench")

    # Drift.

    def measure_drift(self):
        name = next(iter(self._clocks))
        jane = self.scene.fleet[name].client(JANE)
        admin = self.scene.admin(name)
        # More than that of one object is a fight, which the agent leaves.
        rounds = range((self.drifts + 4) // 5)
        self.scene.apply(bundle("drift", [
            *(config_map(f"{kind}-{i}", {"mode": "calm"}, NAMESPACE)
              for kind in ("values", "deletions") for i in rounds),
            *(deployment(f"replicas-{i}", 2, namespace=NAMESPACE)
              for i in rounds),
        ], namespace=NAMESPACE))
        self.scene.wait_ready(bundle="drift")
        maps = ObjectWatch(
            self.scene.fleet[name].client(), "ConfigMap", NAMESPACE,
            lambda o: (o["metadata"]["uid"], o.get("data", {}).get("mode")),
        )
        deployments = ObjectWatch(
            self.scene.fleet[name].client(), "Deployment", NAMESPACE,
            lambda o: (o["metadata"]["generation"], o["spec"]["replicas"]),
        )

        def value(i, name):
            jane.patch("ConfigMap", name, {"data": {"mode": f"wild{i}"}},
                       NAMESPACE, field_manager="janes-editor")
            answered = time.monotonic()
            return answered, maps, lambda what: what and what[1] == "calm"

        def deletion(_, name):
            live = admin.get("ConfigMap", name, NAMESPACE)
            uid = live["metadata"]["uid"]
            jane.delete("ConfigMap", name, NAMESPACE)
            answered = time.monotonic()
            return answered, maps, lambda what: (
                what and what[0] != uid and what[1] == "calm"
            )

        def replicas(_, name):
            admin.wait("Deployment", lambda found: all(
                map(is_available, found)
            ), NAMESPACE)
            answer = admin.get("Deployment", name, NAMESPACE)
            generation = answer["metadata"]["generation"]
            jane.scale("Deployment", name, NAMESPACE, 5)
            answered = time.monotonic()
            return answered, deployments, lambda what: (
                what and what[0] > generation + 1 and what[1] == 2
            )

        for kind, what, act in (
            ("value", "values", value), ("deletion", "deletions", deletion),
            ("replicas", "replicas", replicas),
        ):
            healed = Samples()
            for i in range(self.drifts):
                name = f"{what}-{i // 5}"
                answered, clock, fits = act(i, name)
                # The watch may still show what was before the change.
                self._saw_change(clock, name, answered)
                healed.add(
                    max(0, clock.wait({name}, fits, 30) - answered)
                )
                time.sleep(0.05)
            self.results.append((
                f"drift, {kind}: healed (median, p99 of {self.drifts})",
                milliseconds(healed.median()),
                milliseconds(healed.quantile(0.99)), AIMS[kind], FLEET[kind],
                f"worst {milliseconds(healed.worst())}",
            ))
            self._say(f"drift, {kind}: {milliseconds(healed.median())}, p99 "
                      f"{milliseconds(healed.quantile(0.99))}")
        maps.stop()
        deployments.stop()
        self.scene.delete("bundle", "drift")
        self.scene.wait_gone(bundle="drift")

    def _saw_change(self, clock, name, answered):
        """Lets the event of the change itself come in."""
        with contextlib.suppress(TimeoutError):
            clock.newer(name, answered - 0.002, 0.5)

    # At rest.

    def measure_rest(self):
        docs, names = self._work("rest", 50, 1, 10_000)
        self.scene.apply(*docs)
        self._there(names)
        self._all_ready(50)
        time.sleep(5)
        marks = self.scene.marks()
        frames = {name: self.scene.frames(name) for name in self._clocks}
        before = self._cpu_at_rest()
        time.sleep(self.rest)
        after = self._cpu_at_rest()
        reads, writes = self._requests(marks)
        watches = sum(
            len(self.scene.fleet[name].audit(
                since=mark, user=AGENT, verbs="watch"
            )) for name, mark in marks.items()
        )
        changed = sum(
            sum(self.scene.frames(name).values()) - sum(old.values())
            for name, old in frames.items()
        )
        minutes = self.rest / 60
        agents = len(self._clocks)
        self.results.append((
            "at rest with 50 x 1, CPU a minute: agent / manager",
            f"{(after['agents'] - before['agents']) / minutes / agents:.3f} / "
            f"{(after['manager'] - before['manager']) / minutes:.3f} s",
            "", AIMS["rest"], FLEET["rest"], "",
        ))
        self.results.append((
            "at rest, a minute and cluster: requests / frames",
            f"{(reads + writes) / minutes / agents:.1f} requests, "
            f"{watches / minutes / agents:.1f} watches / "
            f"{changed / minutes / agents:.1f}",
            "", "0", "", "",
        ))
        self._remove(docs, names)

    # The clock itself.

    def measure_clock(self):
        """How late the watches say what a bare client has just written."""
        late = Samples()
        name, clock = next(iter(self._clocks.items()))
        client = self.scene.admin(name)
        for i in range(60):
            self._version += 1
            client.apply(self._object("clock", 1000))
            answered = time.monotonic()
            late.add(clock.reached({"clock"}, str(self._version)) - answered)
        client.delete("ConfigMap", "clock", NAMESPACE)
        cli = Samples()
        for _ in range(20):
            began = time.monotonic()
            self.scene.deployments()
            cli.add(time.monotonic() - began)
        self.results.append((
            "the clock: a watch after the answer (median, p99)",
            milliseconds(late.median()), milliseconds(late.quantile(0.99)),
            "", "", "in all figures of \"there\" and of drift",
        ))
        self.results.append((
            "the clock: one `flotilla get deployments` (median, worst)",
            milliseconds(cli.median()), milliseconds(cli.worst()),
            "", "", "in all figures of \"Ready\"; an apply has one, too",
        ))

    # Memory and CPU.

    def note_memory(self, when):
        self._memory.setdefault(when, []).append({
            "agent": max(
                agent.process.resident_bytes()
                for agent in self.scene.agents.values()
            ),
            "manager": self.scene.manager.process.resident_bytes(),
            "workers": sum(_each(
                resident_bytes, self.scene.manager.process.children()
            )),
        })

    def report_memory(self):
        whens = [w for w in ("fresh", "50x1", "1x500") if w in self._memory]
        for who in ("agent", "manager", "workers"):
            peaks = [
                mebibytes(max(m[who] for m in self._memory[when]))
                for when in whens
            ]
            self.results.append((
                f"memory of {'the largest agent' if who == 'agent' else who}: "
                + " / ".join(w.replace("x", " x ") for w in whens),
                " / ".join(peaks), "", AIMS.get(who, ""), FLEET.get(who, ""),
                "",
            ))

    def _cpu(self):
        """CPU seconds so far of each part."""
        scene = self.scene
        manager = scene.manager.process
        return {
            "manager": manager.cpu_seconds() + sum(
                _each(cpu_seconds, manager.children())
            ),
            "agents": sum(
                agent.process.cpu_seconds() for agent in scene.agents.values()
            ),
            "API servers": sum(
                cluster.process("kube-apiserver").cpu_seconds()
                for cluster in scene.fleet
            ),
            "bench": time.process_time() + sum(os.times()[2:4]),
        }

    def _cpu_at_rest(self):
        """As _cpu(), to the nanosecond, of threads that live all the time.

        What the kernel counts in ticks is too coarse for so little.
        """
        return {
            "manager": _run_time(self.scene.manager.process.pid),
            "agents": sum(
                _run_time(agent.process.pid)
                for agent in self.scene.agents.values()
            ),
        }

    def _cpu_since(self, before):
        now = self._cpu()
        return ", ".join(
            f"{part} {now[part] - before[part]:.2f}" for part in now
        )

    def _add(self, work, there, ready, aim=None, note=""):
        self.results.append((
            work,
            f"{seconds(there.median())} / {seconds(ready.median())}",
            f"{seconds(there.worst())} / {seconds(ready.worst())}",
            AIMS.get(aim, ""), FLEET.get(aim, ""),
            note,
        ))
        self._say(f"{work}: {self.results[-1][1]}")

    def _say(self, line):
        print(line, file=self._out, flush=True)

    def table(self):
        return markdown(
            ("work, 3 clusters", "median", "worst", "aim", "Fleet", "notes"),
            self.results,
        )


def _run_time(pid):
    nanoseconds = 0
    for thread in pathlib.Path(f"/proc/{pid}/task").iterdir():
        nanoseconds += int((thread / "schedstat").read_text().split()[0])
    return nanoseconds / 1e9


def _each(measure, pids):
    for pid in pids:
        with contextlib.suppress(OSError):
            yield measure(pid)


def machine():
    """What it was measured on, for the page."""
    model = "unknown processor"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return (
        f"{os.cpu_count()} x {model}, {memory / (1 << 30):.0f} GiB, "
        f"{platform.system()} {platform.release()}; load before: "
        f"{os.getloadavg()[0]:.1f}"
    )


def main():
    parser = argparse.ArgumentParser(
        description="Measures Flotilla on three Kubernetes API servers."
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--rows", default=",".join(ROWS),
        help="which, of " + ",".join(ROWS),
    )
    parser.add_argument(
        "--rest", type=int, default=60, metavar="SECONDS",
        help="how long to look at rest",
    )
    arguments = parser.parse_args()
    rows = arguments.rows.split(",")
    for row in rows:
        if row not in ROWS:
            parser.error(f"{row}: choose from {', '.join(ROWS)}")
    exit_on_signals()
    on = machine()
    scene = Scene({name: {"env": name} for name in CLUSTERS})
    try:
        scene.start(progress=lambda line: print(line, file=sys.stderr))
        bench = Bench(scene, arguments.runs, rest=arguments.rest)
        bench.prepare()
        try:
            bench.run(rows)
        except (TimeoutError, AssertionError) as error:
            print(f"{error}\n{scene.log_tails()}", file=sys.stderr)
            sys.exit(1)
        finally:
            bench.close()
            print(f"\n{on}; {arguments.runs} runs.\n\n{bench.table()}")
    finally:
        scene.stop()


if __name__ == "__main__":
    main()
