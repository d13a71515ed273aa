"""Settings that hold for unit tests and for the chapters that nbval runs."""

import signal
import threading

from tools import kernel_env

kernel_env.apply()
if (
    threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):
    # A shell starts what it puts in the background with Ctrl-C ignored, and programs
    # that tests start and interrupt would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter):
    """Name the page that explains why a chapter prints something else than its notebook
    stores.
    """
    if any(
        ".ipynb" in report.nodeid for report in terminalreporter.stats.get("failed", [])
    ):
        terminalreporter.write_line(
            "a chapter prints something else: see "
            "book/troubleshooting.md#nbval-mismatch"
        )
