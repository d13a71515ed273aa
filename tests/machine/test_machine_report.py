import sys

from happyllm_support.machine.report import DownloadFolder, inspect_machine


def test_report_of_this_machine_is_plausible():
    import torch

    report = inspect_machine()
    assert report.python == ".".join(map(str, sys.version_info[:3]))
    assert (
        report.torch.version == torch.__version__
        and report.torch.threads == torch.get_num_threads()
    )
    assert (
        1 <= report.cpu.usable <= report.cpu.logical
        and 1 <= report.cpu.cores <= report.cpu.logical
    )
    assert report.memory.total > report.memory.available > 10 << 20
    assert {p.name for p in report.packages} >= {"torch", "numpy", "tyro"}


def test_cache_folder_is_measured_and_tested_without_writing(tmp_path, monkeypatch):
    home = tmp_path / "deep" / "home"
    monkeypatch.setenv("HAPPYLLM_HOME", str(home))
    cache = inspect_machine().cache
    assert (
        cache == DownloadFolder(path=str(home), size_bytes=0, writable=True)
        and not home.exists()
    )
    home.mkdir(parents=True)
    (home / "a").write_bytes(b"12345")
    assert inspect_machine().cache.size_bytes == 5
    monkeypatch.setenv("HAPPYLLM_HOME", str(home / "a"))  # a file, not a folder
    assert not inspect_machine().cache.writable
