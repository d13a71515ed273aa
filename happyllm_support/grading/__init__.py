"""The engine of the labs: it runs a learner's code in a process of its own and says
what is wrong with it.

It knows no lesson; the labs in `labs/` bring their checks. Read the modules in this
order.

What a lab declares:
    not_yet                   what an unwritten function raises
    labs                      checks, points, hints, known wrong variants
    compare                   how checks compare, and say what differs

Calls that leave the process:
    wire                      values as messages that cannot do anything
    workbench                 where the learner's functions are called
    remote                    calls that look like calls, and the transcript of them

From answers to a verdict:
    diagnosis                 which known mistake gives the same answers
    judge                     one check of one solution

Isolation:
    guards                    what a learner's code may not do
    child, spawner            the process of a check, and the one that starts it
    processes, worker         start it and end it with all it left; ask and watch it
    grader                    a whole lab
    notebook                  one function from a notebook cell

What a learner and a teacher see:
    selection                 which lab is meant
    progress                  what has been reached, in a file
    reading, report           the terminal
    page                      the same for a browser
    watch                     noticing that a file was saved
    stubs, solution           beginning again, and looking it up
    marks                     the table of a class
"""

from happyllm_support.grading.not_yet import NotYet
from happyllm_support.grading.notebook import check

__all__ = ["NotYet", "check"]
