# SPDX-License-Identifier: Apache-2.0
"""Processes end with the program that started them, whatever happens."""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import unittest

from e2e.testing import junit
from e2e.testing.processes import (
    Process, ProcessError, cpu_seconds, free_port, wait_until,
)

# Starts a shell with a child of its own, prints both ids, waits.
_PARENT = r"""
import sys, time
from e2e.testing.processes import Process
process = Process(
    "shell", ["sh", "-c", "sleep 1000 & echo child $!; wait"], log=sys.argv[1]
)
child = process.wait_for_log(r"child (\d+)").group(1)
print(process.pid, child, flush=True)
time.sleep(1000)
"""


def _exists(pid):
    """Whether the process runs; one that only waits to be reaped does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class ProcessesTest(unittest.TestCase):

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.log = pathlib.Path(folder.name) / "log"

    def _shell(self, script):
        process = Process("shell", ["sh", "-c", script], log=self.log)
        self.addCleanup(process.kill)
        return process

    def test_kill_takes_the_children_along(self):
        process = self._shell("sleep 1000 & echo child $!; wait")
        child = int(process.wait_for_log(r"child (\d+)").group(1))
        self.assertIn(child, process.children())

        process.kill()

        self.assertFalse(process.running())
        wait_until(lambda: not _exists(child), 5, "end of the child")

    def test_a_killed_program_leaves_no_process_behind(self):
        with subprocess.Popen(
            [sys.executable, "-c", _PARENT, self.log], text=True,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        ) as program:
            shell, _ = map(int, program.stdout.readline().split())
            self.assertTrue(_exists(shell))

            program.send_signal(signal.SIGKILL)
            program.wait()

            wait_until(lambda: not _exists(shell), 5, "end of the shell")

    def test_a_process_outlives_the_thread_that_started_it(self):
        started = []
        thread = threading.Thread(
            target=lambda: started.append(self._shell("echo up; sleep 1000"))
        )
        thread.start()
        thread.join()

        started[0].wait_for_log("up")

        self.assertTrue(started[0].running())

    def test_a_restart_forgets_what_the_run_before_it_wrote(self):
        process = self._shell("echo started; sleep 1000")
        process.wait_for_log("started")
        first = process.pid

        process.restart()
        process.wait_for_log("started")

        self.assertNotEqual(process.pid, first)
        self.assertEqual(process.output(), "started\n")
        self.assertEqual(self.log.read_text(), "started\n" * 2)

    def test_the_wait_for_a_line_shows_the_log_of_a_process_that_ended(self):
        process = self._shell("echo port in use >&2; exit 3")

        with self.assertRaisesRegex(ProcessError, "code 3(.|\n)*port in use"):
            process.wait_for_log("listening")

    def test_terminate_lets_the_process_end_by_itself(self):
        process = self._shell(
            "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05;"
            " done"
        )
        process.wait_for_log("up")

        code = process.terminate()

        self.assertEqual(code, 7)
        self.assertIn("bye", process.output())

    def test_memory_and_cpu_time_are_measured(self):
        process = self._shell("while :; do :; done")

        wait_until(lambda: process.cpu_seconds() > 0.03, 10, "CPU time")

        self.assertGreater(process.resident_bytes(), 100_000)
        self.assertGreater(cpu_seconds(os.getpid()), 0)

    def test_a_paused_process_stands_still_until_it_is_resumed(self):
        process = self._shell("while :; do :; done")

        process.pause()
        with open(f"/proc/{process.pid}/stat", encoding="utf-8") as stat:
            state = stat.read().rpartition(")")[2].split()[0]
        before = process.cpu_seconds()
        process.resume()

        self.assertEqual(state, "T")
        wait_until(lambda: process.cpu_seconds() > before, 10, "progress")

    def test_ports_are_free_and_not_those_of_outgoing_connections(self):
        limits = pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range")
        low, high = map(int, limits.read_text().split())

        port = free_port()

        self.assertTrue(port < low or port > high)

    def test_what_did_not_come_true_in_time_is_named(self):
        def fails():
            raise ValueError("not today")

        with self.assertRaisesRegex(TimeoutError, "no luck.*not today"):
            wait_until(fails, timeout=0.01, what="luck")


if __name__ == "__main__":
    junit.main()
