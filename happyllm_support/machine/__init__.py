"""What this computer is, what it can do at most, and what is wrong with it.

The modules in reading order:

    hardware   processor, memory, GPU, build of torch
    versions   what is installed, required and tested
    report     all of it together
    problems   what is wrong, and what to do; behind `happyllm doctor`
    roofline   the bandwidth and arithmetic that this machine reaches
"""
