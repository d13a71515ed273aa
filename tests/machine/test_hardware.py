from happyllm_support.machine import hardware
from happyllm_support.machine.hardware import Memory


def test_container_limits_count(tmp_path, monkeypatch):
    assert hardware.container_cores(tmp_path) is None
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert hardware.container_cores(tmp_path) is None
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert hardware.container_cores(tmp_path) == 2
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text(f"{64 << 20}\n")
    (tmp_path / "memory.current").write_text(f"{40 << 20}\n")
    (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {6 << 20}\n")
    monkeypatch.setattr(hardware, "CGROUP", tmp_path)
    assert hardware.usable_cores() == 1
    assert hardware.inspect_memory() == Memory(total=64 << 20, available=30 << 20)


def test_old_container_limits_count(tmp_path):
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert hardware.container_cores(tmp_path) is None
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("300000\n")
    assert hardware.container_cores(tmp_path) == 3
