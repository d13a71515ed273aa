"""The corpus: what people do to a grader, by accident or not. Each entry is the body of
a function `double`.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from probe_lab import RIGHT


@dataclass(frozen=True)
class Cheat:
    """Code, and words of the line that its author reads.

    Attributes:
        says: must occur in the symptom.
        body: of `double(x)`, which should return twice x.
        top: code before it; LABS and PACKAGE are the folders of the labs and the
            package, OUTSIDE is a file elsewhere.
        seconds: the time limit.
    """

    says: str
    body: str
    top: str = ""
    seconds: float = 20.0

    def source(self, **folders: str) -> str:
        """The whole file; its other functions are right."""
        known = "\n".join(f"{name} = {folder!r}" for name, folder in folders.items())
        body = textwrap.indent(textwrap.dedent(self.body).strip(), "    ")
        return (
            f"{known}\n{textwrap.dedent(self.top)}\n{RIGHT}\n\ndef double(x):\n{body}\n"
        )


CHEATS = {
    "leaves with os._exit(0)": Cheat(
        "ends the whole process (exit code 0)",
        r"""
    import os
    os._exit(0)
    """,
    ),
    "leaves with another code": Cheat(
        "exit code 7",
        r"""
    import os
    os._exit(7)
    """,
    ),
    "sys.exit": Cheat(
        "it raises SystemExit",
        r"""
    import sys
    sys.exit(0)
    """,
    ),
    "exit at import": Cheat(
        "cannot be imported: raises SystemExit",
        r"""
    return x
    """,
        r"""
    import sys
    sys.exit(0)
    """,
    ),
    "os._exit at import": Cheat(
        "while the file is imported, it ends the whole process",
        r"""
    return x
    """,
        r"""
    import os
    os._exit(0)
    """,
    ),
    "pytest.skip": Cheat(
        "it raises Skipped",
        r"""
    import pytest
    pytest.skip('fine')
    """,
    ),
    "KeyboardInterrupt": Cheat(
        "it raises KeyboardInterrupt",
        r"""
    raise KeyboardInterrupt
    """,
    ),
    "comparisons always true": Cheat(
        "numbers differ",
        r"""
    return x
    """,
        r"""
    import torch
    for name in ('allclose', 'equal', 'isclose'):
        setattr(torch, name, lambda *a, **k: True)
    torch.Tensor.__eq__ = lambda *a: True
    """,
    ),
    "a tensor that equals everything": Cheat(
        "numbers differ",
        r"""
    return x.as_subclass(Yes)
    """,
        r"""
    import torch
    class Yes(torch.Tensor):
        def __eq__(self, other): return True
        def __sub__(self, other): return self * 0
    """,
    ),
    "prints a receipt": Cheat(
        "numbers differ",
        r"""
    print('PASS lab90.double 1/1')
    print('{"value": 1, "points": 1}')
    return x
    """,
    ),
    "writes a receipt everywhere": Cheat(
        "connection to the grader",
        r"""
    import os
    for fd in range(1, 64):
        try:
            os.write(fd, bytes([0] * 7 + [20]) + b'{"value": "passed"} ')
        except OSError:
            pass
    return x
    """,
    ),
    "endless loop": Cheat(
        "not done after 2 s, in line",
        r"""
    while True:
        pass
    """,
        seconds=2.0,
    ),
    "endless loop at import": Cheat(
        "while the file is imported, it is not done",
        r"""
    return x
    """,
        r"""
    while True:
        pass
    """,
        seconds=2.0,
    ),
    "a long native call": Cheat(
        "not done after 2 s",
        r"""
    import torch
    a = torch.rand(2000, 2000)
    for _ in range(10**9):
        a = a @ a / 1000
    """,
        seconds=2.0,
    ),
    "one endless native call": Cheat(
        "not done after 2 s, in line",
        r"""
    return sum(iter(int, 1))
    """,
        seconds=2.0,
    ),
    "sleeps": Cheat(
        "not done after 2 s, in line",
        r"""
    import time
    time.sleep(1000)
    """,
        seconds=2.0,
    ),
    "ignores signals": Cheat(
        "not done after 2 s",
        r"""
    import signal, time
    for s in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        signal.signal(s, signal.SIG_IGN)
    while True:
        time.sleep(1)
    """,
        seconds=2.0,
    ),
    "recursion": Cheat(
        "it raises RecursionError",
        r"""
    return double(x)
    """,
    ),
    "recursion without a limit": Cheat(
        "it crashes (SIGSEGV), in line",
        r"""
    import sys
    sys.setrecursionlimit(10**9)
    class A:
        def __getattr__(self, n):
            return getattr(self, n + 'x')
    def f(n):
        return max([n], key=lambda m: f(m + 1))
    return f(0)
    """,
    ),
    "gigabytes": Cheat(
        "memory",
        r"""
    a = []
    while True:
        a.append(bytearray(b'1') * (1 << 26))
    """,
    ),
    "gigabytes in another process": Cheat(
        "it takes more than 400 MB of memory",
        r"""
    import ctypes, time
    if ctypes.CDLL(None).fork() == 0:
        kept = []
        while True:
            kept.append(bytearray(b'1') * (1 << 26))
            time.sleep(0.05)
    time.sleep(1000)
    """,
    ),
    "one huge tensor": Cheat(
        "alloc",
        r"""
    import torch
    return torch.ones(1 << 40)
    """,
    ),
    "a result of gigabytes": Cheat(
        "it takes more than 400 MB of memory",
        r"""
    import torch
    return torch.zeros(1 << 27)
    """,
    ),
    "megabytes of output": Cheat(
        "it prints more than 1 MB",
        r"""
    for i in range(10**6):
        print('x' * 100)
    return x + x
    """,
    ),
    "megabytes of output, silently": Cheat(
        "it prints more than 1 MB",
        r"""
    import os
    try:
        while True:
            os.write(1, b'x' * 100000)
    except OSError:
        pass
    return x + x
    """,
    ),
    "fork": Cheat(
        "starts another process (os.fork)",
        r"""
    import os
    if os.fork() == 0:
        os._exit(0)
    return x + x
    """,
    ),
    "fork, caught": Cheat(
        "os.fork",
        r"""
    import os
    try:
        os.fork()
    except BaseException:
        pass
    return x + x
    """,
    ),
    "subprocess": Cheat(
        "starts another process",
        r"""
    import subprocess
    subprocess.Popen(['sleep', '1000'])
    return x + x
    """,
    ),
    "os.system": Cheat(
        "starts another process",
        r"""
    import os
    os.system('sleep 1000 &')
    return x + x
    """,
    ),
    "multiprocessing": Cheat(
        "starts another process",
        r"""
    import multiprocessing as m
    p = m.get_context('fork').Process(target=print)
    p.start()
    return x + x
    """,
    ),
    "kills its parent": Cheat(
        "sends a signal",
        r"""
    import os
    os.kill(os.getppid(), 9)
    return x + x
    """,
    ),
    "imports the package": Cheat(
        "imports happyllm_support.model",
        r"""
    import happyllm_support.model.attention
    return x + x
    """,
    ),
    "imports it from": Cheat(
        "imports happyllm_support",
        r"""
    from happyllm_support import files
    return x + x
    """,
    ),
    "imports it by name": Cheat(
        "imports happyllm_support.text",
        r"""
    import importlib
    try:
        importlib.import_module('happyllm_support.text.tokenizer.bpe')
    except BaseException:
        pass
    return x + x
    """,
    ),
    "imports it at the top": Cheat(
        "imports happyllm_support.files",
        r"""
    return x + x
    """,
        r"""
    import happyllm_support.files
    """,
    ),
    "imports the reference": Cheat(
        "imports happyllm_labs",
        r"""
    import happyllm_labs.lab90_probe.reference
    return x + x
    """,
    ),
    "imports what the exercise forbids": Cheat(
        "imports fractions",
        r"""
    import fractions
    return x + x
    """,
    ),
    "reads the checks": Cheat(
        "reads checks.py",
        r"""
    open(LABS + '/lab90_probe/checks.py').read()
    return x + x
    """,
    ),
    "reads the checks, caught": Cheat(
        "reads reference.py",
        r"""
    try:
        open(LABS + '/lab90_probe/reference.py').read()
    except BaseException:
        pass
    return x + x
    """,
    ),
    "reads the package": Cheat(
        "reads files.py",
        r"""
    import pathlib
    pathlib.Path(PACKAGE + '/files.py').read_text()
    return x + x
    """,
    ),
    "loads the package by its path": Cheat(
        "reads files.",
        r"""
    import importlib.util as u
    s = u.spec_from_file_location('f', PACKAGE + '/files.py')
    m = u.module_from_spec(s)
    s.loader.exec_module(m)
    return x + x
    """,
    ),
    "uses the forbidden operator": Cheat(
        "uses torch's exp",
        r"""
    return (x.exp() / x.exp()) * 2 * x
    """,
    ),
    "uses a forbidden function": Cheat(
        "uses torch.nn.functional.scaled_dot_product_attention",
        r"""
    import torch
    F = torch.nn.functional
    F.scaled_dot_product_attention(*[x[None]] * 3)
    return x + x
    """,
    ),
    "uses a forbidden function by another name": Cheat(
        "uses torch's scaled_dot_product_attention",
        r"""
    import torch
    q = x[None]
    torch.ops.aten.scaled_dot_product_attention(q, q, q)
    return x + x
    """,
    ),
    "uses a forbidden operator by its overload": Cheat(
        "uses torch's exp",
        r"""
    import torch
    return torch.ops.aten.exp.default(x) * 0 + x + x
    """,
    ),
    "uses a library of answers": Cheat(
        "imports transformers", "import transformers.activations\nreturn x + x"
    ),
    "writes a file": Cheat(
        "writes the file",
        r"""
    open(OUTSIDE, 'w').write('x')
    return x + x
    """,
    ),
    "deletes itself": Cheat(
        "changes the file probe.py (os.remove)",
        r"""
    import os
    os.remove(__file__)
    return x + x
    """,
    ),
    "empties itself": Cheat(
        "writes the file probe.py",
        r"""
    open(__file__, 'w').close()
    return x + x
    """,
    ),
    "renames a file": Cheat(
        "os.rename",
        r"""
    import os
    os.rename(__file__, __file__ + '.old')
    return x + x
    """,
    ),
    "removes a folder": Cheat(
        "it reads labs",
        r"""
    import shutil
    shutil.rmtree(LABS)
    return x + x
    """,
    ),
    "opens a connection": Cheat(
        "network",
        r"""
    import socket
    socket.create_connection(('127.0.0.1', 9))
    return x + x
    """,
    ),
    "raises its limits": Cheat(
        "changes the limits",
        r"""
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))
    return x + x
    """,
    ),
    "crashes": Cheat(
        "it crashes (SIGSEGV), in line",
        r"""
    import ctypes
    ctypes.string_at(0)
    """,
    ),
    "aborts": Cheat(
        "it crashes (SIGABRT)",
        r"""
    import signal
    signal.raise_signal(signal.SIGABRT)
    """,
    ),
    "a syntax error": Cheat(
        "cannot be imported: raises SyntaxError: invalid syntax (line",
        r"""
    return x +
    """,
    ),
    "an exception at import": Cheat(
        "cannot be imported: raises ZeroDivisionError",
        r"""
    return x
    """,
        r"""
    1 / 0
    """,
    ),
    "no such name": Cheat(
        "it raises NameError: name 'y' is not defined (line",
        r"""
    return y
    """,
    ),
    "returns nothing": Cheat(
        "the result is None",
        r"""
    x + x
    """,
    ),
    "returns a list": Cheat(
        "the result is a list of 2",
        r"""
    return (x + x).tolist()
    """,
    ),
    "returns an object": Cheat(
        "the result is an object",
        r"""
    return object()
    """,
    ),
    "returns itself": Cheat(
        "contains itself",
        r"""
    a = []
    a.append(a)
    return a
    """,
    ),
    "returns a meta tensor": Cheat(
        "it raises",
        r"""
    return x.to('meta')
    """,
    ),
    "returns another dtype": Cheat(
        "the result is float64; expected is float32",
        r"""
    return (x + x).double()
    """,
    ),
    "modifies its input": Cheat(
        "modified its arguments in place",
        r"""
    return x.mul_(2)
    """,
    ),
    "reads stdin": Cheat(
        "it raises EOFError",
        r"""
    input()
    return x + x
    """,
    ),
    "bad indentation": Cheat(
        "cannot be imported: raises IndentationError", "return x\n  return 1"
    ),
    "leaves a thread": Cheat(
        "it leaves a thread running behind it",
        r"""
    import threading, time
    threading.Thread(target=time.sleep, args=(1000,)).start()
    return x + x
    """,
    ),
    "leaves a process that left its group": Cheat(
        "it leaves a process running behind it",
        r"""
    import ctypes, os, time
    libc = ctypes.CDLL(None)
    if libc.fork() == 0:
        os.setsid()
        if libc.fork() == 0:
            while True:
                time.sleep(1)
        os._exit(0)
    return x + x
    """,
    ),
    "leaves a process that ignores signals": Cheat(
        "it leaves a process running behind it",
        r"""
    import ctypes, signal, time
    if ctypes.CDLL(None).fork() == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        while True:
            time.sleep(1)
    return x + x
    """,
    ),
}
