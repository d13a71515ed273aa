"""The engine of the labs: it runs a learner's code in a process of its own and says what is wrong with it.

It knows no lesson; the labs in `labs/` bring their checks. Read the modules in this order.

What a lab declares:
    not_yet                   what an unwritten function raises
    labs                      checks, points, hints, known wrong variants
    compare                   how checks compare, and say what differs

Calls that leave the process:
    wire                      values as messages that cannot do anything
    workbench                 where the learner's functions are called
    remote                    calls that look like calls, and the transcript of them
"""

from happyllm_support.grading.not_yet import NotYet

__all__ = ["NotYet"]
