"""What is fast and how it is measured; `make bench` runs all of it.

Figures are medians, and ratios against a baseline of the same run, since machines differ and drift.
"""
