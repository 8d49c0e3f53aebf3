# SPDX-License-Identifier: Apache-2.0
"""Medians, quantiles and tables are what they are called."""

import unittest

from e2e.bench.figures import (
    Samples, markdown, mebibytes, milliseconds, seconds,
)
from e2e.testing import junit


class FiguresTest(unittest.TestCase):

    def test_median_quantile_and_worst(self):
        for values, median, p99, worst in (
            ([3], 3, 3, 3),
            ([4, 1, 3, 2], 2.5, 4, 4),
            (range(1, 101), 50.5, 99, 100),
            (range(1, 51), 25.5, 50, 50),
        ):
            with self.subTest(values=values):
                samples = Samples(values)
                self.assertEqual(samples.median(), median)
                self.assertEqual(samples.quantile(0.99), p99)
                self.assertEqual(samples.worst(), worst)

    def test_units_are_written_as_people_read_them(self):
        self.assertEqual(seconds(0.0523), "0.052 s")
        self.assertEqual(seconds(12.345), "12.35 s")
        self.assertEqual(milliseconds(0.0094), "9.4 ms")
        self.assertEqual(mebibytes(22 << 20), "22.0 MiB")

    def test_a_table_has_columns_of_equal_width(self):
        self.assertEqual(
            markdown(("work", "s"), [("1 x 10", 2)]),
            "| work   | s |\n|--------|---|\n| 1 x 10 | 2 |",
        )


if __name__ == "__main__":
    junit.main()
