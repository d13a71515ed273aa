"""Benchmarks: this project against its real peers, side by side.

`python -m benchmarks [FILTER...]` runs the rows whose names contain one of the filters
(all without one) and writes `benchmarks/results.json` and the table that the book
shows. `rows.py` lists the comparisons, one file each; `compare.py` is what such a file
is written with.
"""
