"""What this computer is, what it can do at most, and what is wrong with it.

    hardware    processor, memory, disk, GPU
    versions    what is installed
    device      the device that a chapter runs on; `happyllm doctor`
    roofline    the bandwidth and arithmetic that this machine reaches
"""
