# SPDX-License-Identifier: Apache-2.0
"""Tells a story step by step, with the seconds that each step took."""

import contextlib
import sys
import time


class StepFailed(Exception):
    """What a step waited for did not come; the message says what was seen."""


class Narrator:
    """Prints steps and what they show; keeps the seconds of each.

        with narrator.step("A commit spreads"):
            narrator.say("pushed")
            narrator.show(table)
    """

    def __init__(self, out=None):
        self.seconds = {}
        self._out = out or sys.stdout
        self._began = time.monotonic()
        self._step_began = self._began

    @contextlib.contextmanager
    def step(self, title):
        number = len(self.seconds) + 1
        self._print(f"\n== {number}. {title}")
        self._step_began = time.monotonic()
        try:
            yield
        except Exception as error:
            self._print(f"   FAILED after {self._elapsed():.1f} s: {error}")
            raise StepFailed(f"step {number}, {title}: {error}") from error
        self.seconds[title] = self._elapsed()
        self._print(f"   done in {self.seconds[title]:.1f} s")

    def say(self, text):
        """One sentence, with the seconds since the step began."""
        self._print(f"   {self._elapsed():6.2f} s  {text}")

    def run(self, command):
        """A command that somebody could type."""
        self._print(f"             $ {command}")

    def show(self, text):
        """Lines of output as they are."""
        for line in text.rstrip("\n").splitlines():
            self._print(f"             {line}".rstrip())

    def summary(self):
        self._print("\n== The seconds of each step")
        for title, seconds in self.seconds.items():
            self._print(f"   {seconds:6.1f} s  {title}")
        self._print(f"   {time.monotonic() - self._began:6.1f} s  all of it")

    def _elapsed(self):
        return time.monotonic() - self._step_began

    def _print(self, line):
        print(line, file=self._out, flush=True)


def table(header, rows):
    """Columns as wide as they need to be."""
    lines = [header, *rows]
    widths = [
        max(len(str(line[i])) for line in lines) for i in range(len(header))
    ]
    return "\n".join(
        "  ".join(
            str(cell).ljust(width) for cell, width in zip(line, widths)
        ).rstrip()
        for line in lines
    )
