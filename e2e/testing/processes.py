# SPDX-License-Identifier: Apache-2.0
"""Processes that a test, a demo or a benchmark starts and must not leave.

A `Process` is one operating-system process with its log file. It leads its own
process group, so that what it started goes with it, and the kernel kills it
when the program that started it dies in whatever way, SIGKILL included.

    server = Process("server", ["./server", "--port=0"], log="/tmp/x/log")
    server.wait_for_log(r"listening on (\\S+)", timeout=10)
    ...
    server.kill()

Programs call `exit_on_signals()` first, so that a SIGTERM runs the clean-up
too; tests get that from junit.py.
"""

import atexit
import os
import queue
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")


class ProcessError(Exception):
    """A process ended, or did not say in time what it had to say."""


class _Spawner:
    """Starts every child from one thread that lives as long as the program.

    The kernel's parent-death signal follows the thread that forked, not the
    process, so a child started from a short-lived thread would die with it.
    """

    def __init__(self):
        self._requests = queue.Queue()
        self._start_lock = threading.Lock()
        self._thread = None

    def spawn(self, argv, **options):
        with self._start_lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()
        answer = queue.Queue()
        self._requests.put((argv, options, answer))
        result = answer.get()
        if isinstance(result, Exception):
            raise result
        return result

    def _run(self):
        while True:
            argv, options, answer = self._requests.get()
            try:
                answer.put(subprocess.Popen(argv, **options))
            except Exception as error:  # Raised again where spawn was called.
                answer.put(error)


_spawner = _Spawner()
_running = set()
_running_lock = threading.Lock()


@atexit.register
def kill_all():
    """Kills every process that this program started and that still runs."""
    with _running_lock:
        processes = list(_running)
    for process in processes:
        process.signal(signal.SIGKILL)
    for process in processes:
        process.kill()


def exit_on_signals():
    """Makes SIGTERM, SIGINT and SIGHUP end the program through atexit.

    REQUIRES: called from the main thread.
    """

    def leave(number, _frame):
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, leave)


class Process:
    """One child process: start, signals, log, memory and CPU.

    `argv[0]` is looked up in PATH when it has no slash. The process inherits
    this program's environment with `env` on top. Its standard output and error
    are appended to `log`, which is kept after it ends.
    """

    def __init__(self, name, argv, log, env=None, cwd=None):
        self.name = name
        self.argv = [str(part) for part in argv]
        self.log = str(log)
        self.env = env or {}
        self.cwd = cwd
        self._child = None
        self._log_start = 0
        self.start()

    def start(self):
        """Starts the process, again if it ended, with the same command."""
        if self.running():
            raise ProcessError(f"{self.name} is running already")
        environment = dict(os.environ)
        environment.update({k: str(v) for k, v in self.env.items()})
        argv = self.argv
        setpriv = shutil.which("setpriv")
        if setpriv:
            argv = [setpriv, "--pdeathsig", "KILL", "--"] + argv
        with open(self.log, "ab") as log:
            self._log_start = log.tell()
            self._child = _spawner.spawn(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=self.cwd,
                start_new_session=True,
            )
        with _running_lock:
            _running.add(self)

    def restart(self):
        """Kills the process if it runs, then starts it again."""
        self.kill()
        self.start()

    def signal(self, number):
        """Sends a signal to the whole group; a dead group is no error."""
        try:
            os.killpg(self._child.pid, number)
        except ProcessLookupError:
            pass

    def kill(self):
        """Ends the process and its children at once (SIGKILL)."""
        if self._child is None:
            return
        self.signal(signal.SIGKILL)
        self._child.wait()
        with _running_lock:
            _running.discard(self)

    def terminate(self, timeout=10):
        """Asks the process to end (SIGTERM); kills it after `timeout`.

        Returns the exit code, negative for a signal.
        """
        try:
            self.signal(signal.SIGTERM)
            return self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            return None
        finally:
            self.kill()

    def pause(self):
        """Stops the process where it is (SIGSTOP), connections open."""
        self.signal(signal.SIGSTOP)
        # The signal is only sent then; its threads run on until they see it.
        wait_until(
            lambda: _all_threads_stopped(self.pid), 10,
            f"{self.name}: a stop after SIGSTOP", every=0.001,
        )

    def resume(self):
        """Lets a paused process go on."""
        self.signal(signal.SIGCONT)

    def wait(self, timeout=None):
        """Waits for the end; returns the exit code, negative for a signal."""
        try:
            code = self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ProcessError(
                f"{self.name} still runs after {timeout} s"
            ) from None
        with _running_lock:
            _running.discard(self)
        return code

    def wait_for_log(self, pattern, timeout=30):
        """Waits until this run's log matches; returns the match.

        Raises ProcessError with the log's end when the process ends first or
        the time is up.
        """
        expression = re.compile(pattern, re.MULTILINE)
        deadline = time.monotonic() + timeout
        while True:
            # The order matters: a process may write its line and end.
            ended = not self.running()
            match = expression.search(self.output())
            if match:
                return match
            if ended:
                raise ProcessError(
                    f"{self.name} ended with code {self._child.returncode} "
                    f"before its log had {pattern!r}:\n{self.log_tail()}"
                )
            if time.monotonic() > deadline:
                raise ProcessError(
                    f"{self.name}: no {pattern!r} in its log within "
                    f"{timeout} s:\n{self.log_tail()}"
                )
            time.sleep(0.02)

    @property
    def pid(self):
        return self._child.pid

    def running(self):
        return self._child is not None and self._child.poll() is None

    def output(self):
        """What this run has written; earlier runs with this log left out."""
        with open(self.log, "rb") as log:
            log.seek(self._log_start)
            return log.read().decode("utf-8", "replace")

    def log_tail(self, lines=30):
        return "\n".join(self.output().splitlines()[-lines:])

    def resident_bytes(self):
        """Resident memory of the process, its children left out."""
        return resident_bytes(self.pid)

    def cpu_seconds(self):
        """CPU time so far, user and system, its children left out."""
        return cpu_seconds(self.pid)

    def children(self):
        """Process ids of all descendants that live now."""
        return descendants(self.pid)


def resident_bytes(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * _PAGE_SIZE


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
        # The name in parentheses may itself hold spaces and parentheses.
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_SECOND


def descendants(pid):
    found = []
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        try:
            threads = os.listdir(f"/proc/{parent}/task")
        except FileNotFoundError:
            continue
        for thread in threads:
            try:
                path = f"/proc/{parent}/task/{thread}/children"
                with open(path, encoding="ascii") as listing:
                    children = [int(child) for child in listing.read().split()]
            except (FileNotFoundError, ProcessLookupError):
                continue
            found.extend(children)
            waiting.extend(children)
    return found


def _all_threads_stopped(pid):
    for thread in os.listdir(f"/proc/{pid}/task"):
        path = f"/proc/{pid}/task/{thread}/stat"
        try:
            with open(path, encoding="utf-8") as stat:
                if stat.read().rpartition(")")[2].split()[0] != "T":
                    return False
        except (FileNotFoundError, ProcessLookupError):
            continue
    return True


def free_port():
    """A TCP port of loopback on which nothing listens.

    It lies outside the range from which the kernel takes the ports of outgoing
    connections, so that nothing takes it by chance while a server that is
    being restarted has let go of it.
    """
    with open(
        "/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii"
    ) as limits:
        low, high = (int(limit) for limit in limits.read().split())
    candidates = [p for p in range(10000, 65000) if p < low or p > high]
    for _ in range(100 if candidates else 0):
        port = random.SystemRandom().choice(candidates)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until(condition, timeout=30, what="the condition", every=0.05):
    """Calls `condition` until its result is true; returns that result.

    An exception that it raises counts as "not yet" and is shown when the time
    is up. Prefer a watch (KubeClient.wait) where there is one.
    """
    deadline = time.monotonic() + timeout
    while True:
        problem = None
        try:
            result = condition()
            if result:
                return result
        except Exception as error:  # Shown below, once the time is up.
            problem = error
        if time.monotonic() > deadline:
            detail = f": {problem}" if problem else ""
            raise TimeoutError(f"no {what} within {timeout} s{detail}")
        time.sleep(every)
