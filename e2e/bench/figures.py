# SPDX-License-Identifier: Apache-2.0
"""Samples, and how they are written down."""

import math


class Samples:
    """Numbers of one kind in the order in which they were measured."""

    def __init__(self, values=()):
        self.values = list(values)

    def add(self, value):
        self.values.append(value)

    def quantile(self, share):
        """The smallest value that `share` of all do not exceed."""
        ordered = sorted(self.values)
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)]

    def median(self):
        ordered = sorted(self.values)
        middle = len(ordered) // 2
        if len(ordered) % 2:
            return ordered[middle]
        return (ordered[middle - 1] + ordered[middle]) / 2

    def worst(self):
        return max(self.values)


def seconds(value):
    return f"{value:.2f} s" if value >= 0.995 else f"{value:.3f} s"


def milliseconds(value):
    return f"{value * 1000:.1f} ms"


def mebibytes(value):
    return f"{value / (1 << 20):.1f} MiB"


def markdown(header, rows):
    """A table as GitHub reads it, in columns of equal width."""
    lines = [header, *rows]
    widths = [max(len(str(line[i])) for line in lines)
              for i in range(len(header))]

    def row(cells):
        return "| " + " | ".join(
            str(cell).ljust(width) for cell, width in zip(cells, widths)
        ) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([row(header), rule, *map(row, rows)])
