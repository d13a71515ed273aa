"""The commands of `happyllm`: frozen dataclasses whose fields are the options and whose
`run` returns the exit code.

Only these modules and `cli.py` print. Each imports what it needs inside `run`, so that
`happyllm --help` stays quick.
"""
