"""smtpctl is setgid: whatever its caller hands it, the group serves connect() and nothing else.

The caller is `nobody`, the group one that owns a socket played by the test.
"""

import ctypes
import os
import pathlib
import pwd
import resource
import shutil
import socket
import subprocess
import tempfile

import pytest

from control_suite import DONE, QUEUE_LIST, ControlSuite, Peer, result
from postern import BUILD, wait_for

pytestmark = pytest.mark.root

GROUP = 54321  # in no database
NOBODY = pwd.getpwnam("nobody")
# The leak checker can't trace a program that still has two groups: it makes the status 1.
SANITIZED = b"__asan_init" in (BUILD / "bin/smtpctl").read_bytes()


@pytest.fixture
def tree():
    """A folder with a setgid smtpctl in bin/, and a control socket that only GROUP may use."""
    base = pathlib.Path(tempfile.mkdtemp(prefix="postern-setgid-"))
    base.chmod(0o755)
    (base / "bin").mkdir()
    (base / "run").mkdir()
    program = base / "bin/smtpctl"
    shutil.copy(BUILD / "bin/smtpctl", program)
    os.chown(program, 0, GROUP)
    program.chmod(0o2755)
    yield base
    shutil.rmtree(base)


@pytest.fixture
def server(tree):
    listener = socket.socket(socket.AF_UNIX)
    listener.settimeout(10)
    listener.bind(str(tree / "run/smtpd.sock"))
    os.chown(tree / "run/smtpd.sock", 0, GROUP)
    (tree / "run/smtpd.sock").chmod(0o660)
    listener.listen()
    yield listener
    listener.close()


def start(tree, *words, prepare=None, **options):
    def become_nobody():
        os.setgroups([])
        os.setgid(NOBODY.pw_gid)
        os.setuid(NOBODY.pw_uid)
        if prepare is not None:
            prepare()
    options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
        "cwd": "/"} | options
    return subprocess.Popen([tree / "bin/smtpctl", "-s", tree / "run/smtpd.sock", *words],
        preexec_fn=become_nobody, **options)


def ended_early_with(status, expected):
    """Whether that is the status of an smtpctl that ended before it had connected."""
    return status == expected or (SANITIZED and status == 1)


def groups(pid):
    """Real, effective, saved and file system group."""
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("Gid:"):
            return [int(word) for word in line.split()[1:]]
    raise AssertionError("no Gid")


def test_the_group_is_for_connecting_and_then_gone(tree, server):
    process = start(tree, "show", "queue")
    connection, _address = server.accept()
    peer = Peer(connection)
    request = peer.receive()
    assert request.type == QUEUE_LIST
    assert groups(process.pid) == [NOBODY.pw_gid] * 4
    peer.send(DONE, request.id, result())
    assert process.communicate(timeout=10) == (b"", b"")
    assert process.returncode == 0
    peer.close()


def test_without_the_group_the_socket_is_closed_to_nobody(tree, server):
    (tree / "bin/smtpctl").chmod(0o755)
    process = start(tree, "show", "queue")
    _out, err = process.communicate(timeout=10)
    assert process.returncode == os.EX_NOPERM
    assert b"Permission denied" in err


def test_the_password_is_read_without_the_group(tree, server):
    process = start(tree, "user", "add", "u@example.test", stdin=subprocess.PIPE)
    # In read() on standard input; from the start its effective group is its caller's.
    wait_for(lambda: "pipe" in pathlib.Path(f"/proc/{process.pid}/wchan").read_text() or
        pathlib.Path(f"/proc/{process.pid}/syscall").read_text().startswith("0 0x0"), 10)
    assert groups(process.pid)[:2] == [NOBODY.pw_gid] * 2
    process.stdin.close()
    assert ended_early_with(process.wait(10), os.EX_DATAERR)
    process.stdout.close()
    process.stderr.close()


def test_the_queue_program_is_run_without_group_or_environment(tree):
    queue = tree / "bin/queue"
    queue.write_text('#!/bin/sh\necho "$@"; grep Gid: /proc/self/status; cat /proc/self/environ; '
        'ls /proc/self/fd | wc -l\n')
    queue.chmod(0o755)
    process = start(tree, "spool", "check", "/some/where",
        env={"EVIL": "1", "PATH": "/evil", "LD_PRELOAD": "/evil.so", "IFS": "x", "TMPDIR": "/evil"})
    out, err = process.communicate(timeout=10)
    assert process.returncode == 0, err
    lines = out.decode().splitlines()
    assert lines[0] == "check /some/where"
    assert lines[1].split()[1:] == [str(NOBODY.pw_gid)] * 4
    assert b"EVIL" not in out and b"evil" not in out


@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1, 2]])
def test_closed_descriptors_are_never_the_socket(tree, server, closed):
    def prepare():
        for fd in closed:
            os.close(fd)
    process = start(tree, "remove", "all", prepare=prepare)
    connection, _address = server.accept()
    peer = Peer(connection)
    request = peer.receive()
    for fd in closed:
        # The C library opens /dev/full for a setgid program's closed standard input.
        assert os.readlink(f"/proc/{process.pid}/fd/{fd}") in ("/dev/null", "/dev/full")
    peer.send(DONE, request.id, result(code=75, words="not now"))
    process.communicate(timeout=10)
    assert process.returncode == 75
    # No word of the message went where the frames go.
    assert peer.receive() is None
    peer.close()


def test_an_empty_argv_is_no_crash(tree):
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(NOBODY.pw_gid)
        os.setuid(NOBODY.pw_uid)
        null = os.open("/dev/null", os.O_RDWR)
        for fd in range(3):
            os.dup2(null, fd)
        nothing = (ctypes.c_char_p * 1)(None)
        ctypes.CDLL(None).execve(str(tree / "bin/smtpctl").encode(), nothing, nothing)
        os._exit(99)
    _pid, status = os.waitpid(child, 0)
    assert ended_early_with(os.waitstatus_to_exitcode(status), os.EX_USAGE)


def test_a_megabyte_of_arguments_is_refused_in_one_short_line(tree):
    for words in (["x" * 100000] * 10, ["remove", "from", "a" * 120000 + "@b"],
            ["remove"] + ["from"] * 100000, ["alias", "add", "a@b"] + ["c@d"] * 60000):
        process = start(tree, *words)
        _out, err = process.communicate(timeout=20)
        assert ended_early_with(process.returncode, os.EX_USAGE)
        assert SANITIZED or (len(err) < 1000 and err.count(b"\n") == 1)


@pytest.mark.parametrize("limit", ["NOFILE", "FSIZE", "NPROC", "STACK"])
def test_limits_of_nothing_end_in_an_error(tree, limit):
    number = getattr(resource, f"RLIMIT_{limit}")
    least = 64 * 1024 if limit == "STACK" else 0
    process = start(tree, "show", "queue",
        prepare=lambda: resource.setrlimit(number, (least, least)))
    process.communicate(timeout=10)
    assert process.returncode > 0


def test_hostile_paths_write_nothing(tree):
    target = tree / "target"
    target.write_text("precious")
    os.chown(target, 0, GROUP)
    target.chmod(0o660)
    for words in (["-s", target, "show", "queue"], ["-s", "/dev/stdout", "stop"]):
        process = start(tree, *words)
        process.communicate(timeout=10)
        assert process.returncode != 0
    # A socket's path and a spool's are never opened by smtpctl itself.
    process = start(tree, "spool", "dump", target)
    process.communicate(timeout=10)
    assert process.returncode == os.EX_UNAVAILABLE
    assert target.read_text() == "precious"


def test_the_real_control_knows_the_caller_and_refuses(tree):
    with ControlSuite() as suite:
        os.chmod(suite.base, 0o755)
        os.chown(suite.path, 0, GROUP)
        suite.path.chmod(0o660)
        process = start(tree, "-s", suite.path, "remove", "all")
        assert process.communicate(timeout=10) == (b"", b"smtpctl: need root privileges\n")
        assert process.returncode == os.EX_NOPERM
        assert f"uid={NOBODY.pw_uid} " in suite.wait_log("control-refused")
