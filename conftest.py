"""Settings that hold for unit tests and for the chapters that nbval runs."""

from tools import kernel_env

kernel_env.apply()


def pytest_terminal_summary(terminalreporter):
    """Name the page that explains why a chapter prints something else than its notebook stores."""
    if any(".ipynb" in report.nodeid for report in terminalreporter.stats.get("failed", [])):
        terminalreporter.write_line("a chapter prints something else: see book/troubleshooting.md#nbval-mismatch")
