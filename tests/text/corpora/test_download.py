"""Downloads against a server on the loopback interface whose misbehaviour each test
chooses.
"""

import hashlib
import http.server
import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from happyllm_support.text.corpora import download
from happyllm_support.text.corpora.download import (
    DownloadError,
    RemoteFile,
    fetch_file,
    is_cached,
)
from happyllm_support.text.corpora.transfer import transfer

CONTENT = bytes(range(256)) * 4096  # 1 MiB
DIGEST = "sha256:" + hashlib.sha256(CONTENT).hexdigest()


class Source:
    """What the server offers, and what it has been asked."""

    def __init__(self):
        self.content = CONTENT
        self.etag = '"v1"'
        self.ranges = True
        self.heeds_if_range = True
        self.stop_after = None
        self.delay = 0.0
        self.status = None
        self.requests = []


@pytest.fixture
def source(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    state = Source()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            state.requests.append(
                (self.path, self.headers.get("Range"), self.headers.get("If-Range"))
            )
            time.sleep(state.delay)
            if state.status is not None:
                self.send_error(state.status)
                return
            begin, partial = 0, False
            asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
            if (
                asked
                and state.ranges
                and (not state.heeds_if_range or condition in (None, state.etag))
            ):
                begin, partial = (
                    int(asked.removeprefix("bytes=").removesuffix("-")),
                    True,
                )
                if begin >= len(state.content):
                    self.send_error(416)
                    return
            body = state.content[begin:]
            self.send_response(206 if partial else 200)
            if partial:
                self.send_header(
                    "Content-Range",
                    f"bytes {begin}-{len(state.content) - 1}/{len(state.content)}",
                )
            self.send_header("Content-Length", str(len(body)))
            if state.etag:
                self.send_header("ETag", state.etag)
            self.end_headers()
            self.wfile.write(
                body if state.stop_after is None else body[: state.stop_after]
            )

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    # a client that hangs up is part of the tests
    server.handle_error = lambda *args: None
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}/file.bin"
    yield state
    server.shutdown()
    server.server_close()


def remote(*urls, **changes):
    return RemoteFile(
        **{"path": "sub/file.bin", "size": len(CONTENT), "digest": DIGEST, "urls": urls}
        | changes
    )


def names(folder):
    return sorted(os.listdir(folder / "sub"))


def begun(tmp_path, source, amount=300_000):
    """A part of which `amount` bytes have arrived."""
    source.stop_after = amount
    with pytest.raises(DownloadError, match="broke off"):
        fetch_file(remote(source.url), tmp_path)
    source.stop_after = None
    source.requests.clear()
    assert (tmp_path / "sub/file.bin.part").read_bytes() == CONTENT[:amount]


def test_downloads_once_then_needs_no_network(tmp_path, source):
    seen = []
    path = fetch_file(remote(source.url), tmp_path, lambda *given: seen.append(given))
    assert path == tmp_path / "sub/file.bin" and path.read_bytes() == CONTENT
    assert names(tmp_path) == ["file.bin"]
    assert (
        seen[-1] == ("fetching file.bin", len(CONTENT), len(CONTENT))
        and seen == sorted(seen)
        and len(seen) > 2
    )
    source.status = 500
    assert (
        fetch_file(remote(source.url), tmp_path) == path and len(source.requests) == 1
    )


def test_truncated_download_is_refused_and_kept(tmp_path, source):
    source.stop_after = 300_000
    with pytest.raises(
        DownloadError,
        match=r"broke off after 300,000 of 1,048,576 bytes; 300,000 bytes are kept",
    ) as caught:
        fetch_file(remote(source.url), tmp_path)
    assert "\n" not in str(caught.value) and source.url in str(caught.value)
    assert not (tmp_path / "sub/file.bin").exists()


def test_resumes_where_it_stopped(tmp_path, source):
    begun(tmp_path, source)
    seen = []
    path = fetch_file(
        remote(source.url), tmp_path, lambda _, done, total: seen.append(done)
    )
    assert path.read_bytes() == CONTENT and names(tmp_path) == ["file.bin"]
    assert source.requests == [("/file.bin", "bytes=300000-", '"v1"')]
    assert seen[0] > 300_000


def test_ctrl_c_keeps_what_came(tmp_path, source):
    def interrupt(stage, done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_file(remote(source.url), tmp_path, interrupt)
    size = (tmp_path / "sub/file.bin.part").stat().st_size
    assert 0 < size < len(CONTENT)
    fetch_file(remote(source.url), tmp_path)
    assert source.requests[-1][1] == f"bytes={size}-"


def test_server_without_ranges_starts_over(tmp_path, source):
    begun(tmp_path, source)
    source.ranges = False
    assert fetch_file(remote(source.url), tmp_path).read_bytes() == CONTENT
    assert len(source.requests) == 1


@pytest.mark.parametrize("heeds_if_range", [True, False])
def test_changed_file_of_equal_size_starts_over(tmp_path, source, heeds_if_range):
    begun(tmp_path, source)
    source.content = CONTENT[::-1]
    source.etag = '"v2"'
    source.heeds_if_range = heeds_if_range
    digest = "sha256:" + hashlib.sha256(source.content).hexdigest()
    seen = []
    path = fetch_file(
        remote(source.url, digest=digest),
        tmp_path,
        lambda _, done, total: seen.append(done),
    )
    assert path.read_bytes() == source.content
    assert seen[0] < 300_000  # nothing of the new version was appended to the old


def test_changed_file_without_etag_is_found_by_its_hash(tmp_path, source):
    source.etag = None
    begun(tmp_path, source)
    source.content = CONTENT[::-1]
    digest = "sha256:" + hashlib.sha256(source.content).hexdigest()
    assert (
        fetch_file(remote(source.url, digest=digest), tmp_path).read_bytes()
        == source.content
    )
    assert [asked for _, asked, _ in source.requests] == ["bytes=300000-", None]


def test_part_that_is_too_long_or_damaged_starts_over(tmp_path, source):
    (tmp_path / "sub").mkdir()
    for damaged in (CONTENT + b"more", b"x" * len(CONTENT), b"x" * 10):
        (tmp_path / "sub/file.bin.part").write_bytes(damaged)
        assert fetch_file(remote(source.url), tmp_path).read_bytes() == CONTENT
        (tmp_path / "sub/file.bin").unlink()


def test_unknown_size_and_a_part_beyond_the_end(tmp_path, source):
    part = tmp_path / "part"
    part.write_bytes(CONTENT + b"more")
    assert transfer(source.url, part) is False
    assert part.read_bytes() == CONTENT


def test_wrong_hash_is_refused_by_name(tmp_path, source):
    expected = "sha256:" + "0" * 64
    with pytest.raises(
        ValueError,
        match=rf"file\.bin.*content has {DIGEST}, expected {expected}.*refused",
    ) as caught:
        fetch_file(remote(source.url, digest=expected), tmp_path)
    assert "\n" not in str(caught.value) and names(tmp_path) == []


def test_another_size_is_refused_before_anything_is_lost(tmp_path, source):
    begun(tmp_path, source)
    source.content, source.etag = CONTENT + b"more", '"v2"'
    with pytest.raises(
        DownloadError,
        match="offers 1,048,580 bytes, expected 1,048,576: the file there has changed",
    ):
        fetch_file(remote(source.url), tmp_path)
    assert (tmp_path / "sub/file.bin.part").read_bytes() == CONTENT[:300_000]


def test_second_source_is_tried(tmp_path, source):
    gone = source.url.replace("file.bin", "gone")
    source.status = 404
    with pytest.raises(
        DownloadError,
        match=r"gone: HTTP status 404 Not Found; .*file\.bin: HTTP status 404",
    ):
        fetch_file(remote(gone, source.url), tmp_path)
    assert names(tmp_path) == []
    source.status = None
    unreachable = f"http://127.0.0.1:{_closed_port()}/file.bin"
    assert fetch_file(remote(unreachable, source.url), tmp_path).read_bytes() == CONTENT


def test_no_network_names_url_and_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    url = f"http://127.0.0.1:{_closed_port()}/file.bin"
    with pytest.raises(DownloadError) as caught:
        fetch_file(remote(url), tmp_path)
    message = str(caught.value)
    assert (
        url in message
        and f"at {tmp_path / 'sub/file.bin'} by hand" in message
        and DIGEST in message
    )
    assert "\n" not in message and names(tmp_path) == []


def _closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_file_url(tmp_path):
    (tmp_path / "origin").write_bytes(CONTENT)
    path = fetch_file(remote((tmp_path / "origin").as_uri()), tmp_path / "cache")
    assert path.read_bytes() == CONTENT
    with pytest.raises(DownloadError, match=r"missing: .*No such file"):
        fetch_file(remote((tmp_path / "missing").as_uri()), tmp_path / "other")


def test_cached_file_that_is_another_is_refused_not_replaced(tmp_path, source):
    path = tmp_path / "sub/file.bin"
    path.parent.mkdir()
    path.write_bytes(CONTENT[::-1])
    with pytest.raises(
        ValueError,
        match=rf"not the registered file: sha256:\w+, expected {DIGEST}; delete",
    ):
        fetch_file(remote(source.url), tmp_path)
    path.write_bytes(b"short")
    assert not is_cached(remote(), tmp_path)
    with pytest.raises(ValueError, match="5 bytes, expected 1,048,576"):
        fetch_file(remote(source.url), tmp_path)
    assert path.read_bytes() == b"short" and not source.requests


def test_large_file_is_hashed_once_until_it_changes(tmp_path, source, monkeypatch):
    monkeypatch.setattr(download, "ALWAYS_VERIFY_BELOW", 1000)
    path = fetch_file(remote(source.url), tmp_path)
    assert names(tmp_path) == [".file.bin.verified", "file.bin"]
    hashed = []
    true_hash = download.hash_file
    monkeypatch.setattr(
        download, "hash_file", lambda *args: hashed.append(args) or true_hash(*args)
    )
    fetch_file(remote(source.url), tmp_path)
    assert not hashed
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=(1, 1))
    with pytest.raises(ValueError, match="not the registered file"):
        fetch_file(remote(source.url), tmp_path)
    assert len(hashed) == 1


def test_full_disk_is_one_line_and_keeps_the_part(tmp_path, source):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(
        resource.RLIMIT_FSIZE, (400_000, limits[1])
    )  # writing beyond fails as on a full disk
    try:
        with pytest.raises(
            DownloadError, match=r"cannot write .*file\.bin .*400,000 bytes are kept"
        ) as caught:
            fetch_file(remote(source.url), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value) and "HAPPYLLM_HOME" in str(caught.value)
    assert fetch_file(remote(source.url), tmp_path).read_bytes() == CONTENT
    assert source.requests[-1][1] == "bytes=400000-"


def test_too_little_space_is_said_before_the_transfer(tmp_path, source, monkeypatch):
    monkeypatch.setattr(
        shutil,
        "disk_usage",
        lambda path: shutil._ntuple_diskusage(2**20, 2**20 - 1000, 1000),
    )
    with pytest.raises(
        DownloadError, match=r"1,048,576 bytes are needed and 1,000 are free"
    ):
        fetch_file(remote(source.url), tmp_path)
    assert not source.requests


def test_cache_folder_that_is_a_file(tmp_path, source):
    (tmp_path / "sub").write_text("in the way")
    with pytest.raises(
        DownloadError, match=r"cannot write .*file\.bin .*exists; nothing was written"
    ):
        fetch_file(remote(source.url), tmp_path)


def test_two_processes_that_want_one_file_transfer_it_once(tmp_path, source):
    """The second one waits, also while the first compares hashes."""
    script = (
        "import sys, time; from pathlib import Path\n"
        "from happyllm_support.text.corpora import download\n"
        "true_hash = download.hash_file\n"
        "def slow_hash(*given): time.sleep(1); return true_hash(*given)\n"
        "download.hash_file = slow_hash\n"
        f"file = download.RemoteFile(path='sub/file.bin', size={len(CONTENT)},\n"
        f"    digest={DIGEST!r}, urls=({source.url!r},))\n"
        "print(download.fetch_file(file, Path(sys.argv[1])))\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    texts = [process.communicate(timeout=60) for process in processes]
    assert [out.strip() for out, _ in texts] == [str(tmp_path / "sub/file.bin")] * 2
    assert sorted(error.strip() for _, error in texts) == [
        "",
        f"another process is downloading {tmp_path / 'sub/file.bin'}; waiting",
    ]
    assert len(source.requests) == 1 and names(tmp_path) == ["file.bin"]
    assert (tmp_path / "sub/file.bin").read_bytes() == CONTENT


def test_many_threads_that_want_one_file_get_it_whole(tmp_path, source):
    source.delay = 0.05
    with ThreadPoolExecutor(8) as pool:
        paths = list(
            pool.map(lambda _: fetch_file(remote(source.url), tmp_path), [0] * 8)
        )
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert len(source.requests) == 1 and names(tmp_path) == ["file.bin"]


def test_who_waited_goes_on_where_the_other_stopped(tmp_path, source):
    """The first one is interrupted; the lock that it leaves behind stops nobody."""
    begun(tmp_path, source)
    (tmp_path / "sub/.file.bin.lock").touch()  # of a process that was killed
    assert fetch_file(remote(source.url), tmp_path).read_bytes() == CONTENT
    assert source.requests == [("/file.bin", "bytes=300000-", '"v1"')]
    assert names(tmp_path) == ["file.bin"]


def test_file_without_source_says_where_to_put_it(tmp_path):
    with pytest.raises(
        ValueError,
        match=rf"file\.bin has no download; put the file \(.*{DIGEST}\) at {tmp_path}",
    ):
        fetch_file(remote(), tmp_path)


@pytest.fixture
def archive(tmp_path):
    origin = tmp_path / "a.zip"
    with zipfile.ZipFile(origin, "w", zipfile.ZIP_DEFLATED) as bundle:
        bundle.writestr("folder/inside.txt", CONTENT)
        bundle.writestr("../escape.txt", b"out")
    packed = origin.read_bytes()
    digest = "sha256:" + hashlib.sha256(packed).hexdigest()
    return RemoteFile(
        path="sub/a.zip", size=len(packed), digest=digest, urls=(origin.as_uri(),)
    )


def test_only_the_named_member_is_unpacked(tmp_path, archive):
    cache = tmp_path / "cache"
    member = remote(
        archive=archive,
        member="folder/inside.txt",
        digest="sha1:" + hashlib.sha1(CONTENT).hexdigest(),
    )
    assert fetch_file(member, cache).read_bytes() == CONTENT
    assert (
        names(cache) == ["a.zip", "file.bin"] and not (tmp_path / "escape.txt").exists()
    )
    (cache / "sub/a.zip").unlink()
    (tmp_path / "a.zip").unlink()
    assert (
        fetch_file(member, cache).read_bytes() == CONTENT
    )  # what is unpacked needs no archive


def test_member_errors(tmp_path, archive):
    cache = tmp_path / "cache"
    with pytest.raises(ValueError, match=r"a\.zip holds no other\.txt"):
        fetch_file(remote(archive=archive, member="other.txt"), cache)
    with pytest.raises(
        ValueError,
        match=rf"inside\.txt in .*a\.zip is not the registered file: {DIGEST}",
    ):
        fetch_file(
            remote(
                archive=archive, member="folder/inside.txt", digest="sha256:" + "1" * 64
            ),
            cache,
        )
    assert names(cache) == ["a.zip"]
    (tmp_path / "no.zip").write_bytes(b"no zip file")
    digest = "sha256:" + hashlib.sha256(b"no zip file").hexdigest()
    broken = RemoteFile(
        path="sub/no.zip", digest=digest, urls=((tmp_path / "no.zip").as_uri(),)
    )
    with pytest.raises(ValueError, match=r"no\.zip is not an intact zip file"):
        fetch_file(remote(archive=broken, member="x"), cache)
