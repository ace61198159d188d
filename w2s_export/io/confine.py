"""Takes from the calling process what foreign data has no business with: Linux's means for it.

Seccomp refuses the system calls that open sockets, start programs or look into other processes;
Landlock refuses every file but those named. Neither needs privileges, and neither can be undone.
Both are reached through the C library, because Python has no interface to them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import site
import struct
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SIGKILL = 9

_REFUSED = {
    # socket, ptrace, process_vm_readv, process_vm_writev, io_uring_setup, execve, execveat
    "x86_64": (0xC000003E, (41, 101, 310, 311, 425, 59, 322)),
    "aarch64": (0xC00000B7, (198, 117, 270, 271, 425, 221, 281)),
}
"""Architecture of the kernel's audit and numbers of system calls (asm/unistd.h)."""
_X32 = 0x40000000
"""System calls of the x32 variant begin here; refused, because their numbers differ."""

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
"""System calls of Landlock, the same on every architecture (linux/landlock.h)."""
_READ = 1 << 0 | 1 << 2 | 1 << 3  # execute, read a file, list a folder
_OF_FILES = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14  # what a rule for a single file may hold
_SYSTEM = (
    "/usr", "/lib", "/lib64", "/bin", "/opt", "/nix/store", "/sys",
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/localtime", "/etc/nsswitch.conf", "/etc/ssl",
    "/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/sys", "/proc/zoneinfo",
    "/proc/filesystems", "/dev/urandom", "/dev/random", "/dev/zero",
)  # fmt: skip


def protections() -> tuple[str, ...]:
    """Names of what this kernel offers of `shut_in`."""
    found = []
    if _refused_here() is not None:
        found.append("seccomp")
    if _landlock_version() > 0:
        found.append("Landlock")
    return tuple(found)


def signal_at_death_of_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends. Linux only."""
    if sys.platform == "linux":
        _libc().prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)


def limit(seconds: float, memory: int, file_size: int) -> None:
    """Bound processor time, memory and the size of written files, and write no core dump.

    Time and memory are the last resort, for what grows faster than its watcher looks or lost it.
    """
    try:
        import resource
    except ImportError:  # Windows
        return
    for kind, most in (
        (resource.RLIMIT_CPU, int(seconds * (os.cpu_count() or 1)) + 60),  # all cores together
        (resource.RLIMIT_DATA, 2 * memory + (1 << 30)),  # of what is reserved, much is never used
        (resource.RLIMIT_FSIZE, file_size),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, hard))


def shut_in(reads: Sequence[str], writes: Sequence[str]) -> None:
    """Leave this process no network, no other program, and no file but the named ones.

    Python's own files and the system's libraries stay readable. Call it before a thread starts.
    """
    if sys.platform != "linux":
        return
    libc = _libc()
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return
    _landlock(libc, [*_of_python(), *_SYSTEM, *reads], [*writes, "/dev/null", "/dev/shm"])  # noqa: S108 - a rule, no file
    _seccomp(libc)


def _of_python() -> Iterable[str]:
    yield from (sys.prefix, sys.base_prefix, sys.exec_prefix, *site.getsitepackages())
    yield site.getusersitepackages()
    places = [sys.pycache_prefix, *sys.path, *os.environ.get("LD_LIBRARY_PATH", "").split(":")]
    yield from filter(None, places)


def _landlock(libc: ctypes.CDLL, reads: Iterable[str], writes: Iterable[str]) -> None:
    version = _landlock_version()
    if version <= 0:
        return
    everything = (1 << 13) - 1
    for since, bit in ((2, 13), (3, 14)):  # moving between folders, truncating
        everything |= (version >= since) << bit
    scoped = 3 if version >= 6 else 0  # abstract sockets of, and signals to, other processes
    attributes = struct.pack("=QQQ", everything, 0, scoped)[: 24 if version >= 6 else 8]
    rules = libc.syscall(_CREATE, attributes, len(attributes), 0)
    if rules < 0:
        return
    try:
        for paths, allowed in ((reads, _READ), (writes, everything)):
            for path in paths:
                with suppress(OSError):
                    _allow(libc, rules, path, allowed & everything)
        libc.syscall(_RESTRICT, rules, 0)
    finally:
        os.close(rules)


def _allow(libc: ctypes.CDLL, rules: int, path: str, allowed: int) -> None:
    number = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not os.path.isdir(path):  # noqa: PTH112 - text throughout
            allowed &= _OF_FILES
        libc.syscall(_ADD_RULE, rules, 1, struct.pack("=Qi", allowed, number), 0)
    finally:
        os.close(number)


def _landlock_version() -> int:
    if sys.platform != "linux":
        return 0
    return int(_libc().syscall(_CREATE, None, 0, 1))


def _refused_here() -> tuple[int, tuple[int, ...]] | None:
    if sys.platform != "linux" or struct.calcsize("P") != 8:
        return None
    return _REFUSED.get(platform.machine())


def _seccomp(libc: ctypes.CDLL) -> None:
    refused = _refused_here()
    if refused is None:
        return
    architecture, numbers = refused

    def instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
        return struct.pack("=HBBI", code, if_true, if_false, value)

    load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06
    count = len(numbers)
    program = [
        instruction(load, 4),  # the architecture
        instruction(equal, architecture, 0, count + 3),
        instruction(load, 0),  # the number of the call
        instruction(at_least, _X32, count + 1, 0),
        *(instruction(equal, number, count - index) for index, number in enumerate(numbers)),
        instruction(give, 0x7FFF0000),  # allow
        instruction(give, 0x00050000 | errno.EACCES),
    ]
    code = ctypes.create_string_buffer(b"".join(program))
    described = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    libc.prctl(_PR_SET_SECCOMP, 2, ctypes.c_char_p(described), 0, 0)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
