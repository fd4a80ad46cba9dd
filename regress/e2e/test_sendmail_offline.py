"""Mail that is sent while there is no server: kept as its sender's, and sent when there is one."""

import os
import pwd
import re
import signal
import socket
import stat
import subprocess
import sys

import pytest

from postern import wait_for
from test_sendmail import NAMED, NOBODY, as_user, offline, options, only, program, sendmail
from test_smtpctl_privilege import SANITIZED

root = pytest.mark.root


@pytest.fixture
def stopped(make_postern):
    server = make_postern(extra=NAMED)
    server.stop()
    return server


def kept(server):
    return sorted(path for path in offline(server).iterdir())


def wait_logged(server, pattern, count=1):
    """From the log of this start: what is done at once may be there before start() returns."""
    wait_for(lambda: len(re.findall(pattern, server.log_text(server._started_at))) >= count, 15,
        pattern)


def start_and_wait(server):
    server.start()
    wait_for(lambda: not [path for path in kept(server) if path.name[0] != "."], 20,
        "all is sent")


def test_mail_is_kept_while_the_server_is_down_and_sent_when_it_starts(stopped):
    assert sendmail(stopped, "-f", "bob", "-F", "Bob B", "-N", "never", "alice",
        text="Subject: kept\n\nKäse\n.\nnot this\n".encode()) == ""
    assert sendmail(stopped, "-t", text=b"To: alice@example.test\nBcc: bob\n\nsecond\n") == ""
    assert len(kept(stopped)) == 2
    start_and_wait(stopped)
    mails = stopped.wait_mail("alice@example.test", 2)
    first = next(mail for mail in mails if mail.message["Subject"] == "kept")
    assert first.body == "Käse\n".encode()
    assert str(first.message["From"]) == "Bob B <bob@example.test>"
    assert f"(local, uid {os.getuid()})" in first.message["Received"]
    assert only(stopped, "bob").body == b"second\n"
    wait_logged(stopped, f"offline-sent file=[0-9a-f-]+ uid={os.getuid()}\n", 2)


@root
def test_a_users_file_is_his_own_and_sent_as_him(stopped):
    sendmail(stopped, "alice", user=NOBODY)
    (path,) = kept(stopped)
    info, user = path.stat(), pwd.getpwnam(NOBODY)
    assert (info.st_uid, info.st_gid) == (user.pw_uid, user.pw_gid)
    assert stat.S_IMODE(info.st_mode) == 0o600
    directory = offline(stopped).stat()
    assert (directory.st_uid, stat.S_IMODE(directory.st_mode)) == (0, 0o1770)
    for words in (["ls", offline(stopped)], ["cat", path], ["rm", "-f", path],
            ["touch", offline(stopped) / "x"]):
        assert subprocess.run([*as_user(NOBODY), *words], stderr=subprocess.DEVNULL).returncode
    start_and_wait(stopped)
    assert f"(local, uid {user.pw_uid})" in only(stopped).message["Received"]


@root
def test_a_server_that_is_not_roots_keeps_its_users_mail(make_postern):
    server = make_postern(extra=NAMED, user=NOBODY)
    server.stop()
    sendmail(server, "alice", user=NOBODY)
    sendmail(server, "alice", user="daemon",
        status=os.EX_TEMPFAIL)
    start_and_wait(server)
    assert only(server).body == b"hello\n"


def test_it_is_sent_while_the_server_runs(stopped):
    stopped.start()
    subprocess.run([program(stopped), f"-OSmtpSocket={stopped.run}/none", options(stopped)[1],
        "alice"], input=b"Subject: x\n\nhello\n", check=True, timeout=30)
    assert len(kept(stopped)) == 1
    assert stopped.wait_mail("alice@example.test", timeout=45)[0].body == b"hello\n"


@root
def test_what_can_not_be_sent_is_left_alone_and_named(stopped):
    sendmail(stopped, "alice")
    (good,) = kept(stopped)
    folder = offline(stopped)
    secret = stopped.base / "secret"
    secret.write_bytes(good.read_bytes())
    secret.chmod(0o600)
    (folder / "1-link").symlink_to(secret)
    os.mkfifo(folder / "1-fifo", 0o600)
    os.link(secret, folder / "1-hard")
    (folder / "1-folder").mkdir()
    socket.socket(socket.AF_UNIX).bind(str(folder / "1-socket"))
    (folder / "1-open").write_bytes(good.read_bytes())
    (folder / "1-open").chmod(0o640)
    with open(folder / "1-huge", "wb") as huge:
        huge.truncate(1 << 40)
    (folder / "1-huge").chmod(0o600)
    for name, data in (("empty", b""), ("cut", good.read_bytes()[:40]), ("zeros", bytes(4096)),
            ("noise", os.urandom(5000)), ("header", good.read_bytes() + b"X: y" * 300000)):
        (folder / f"1-{name}").write_bytes(data)
        (folder / f"1-{name}").chmod(0o600)
    stopped.allow("offline-")
    start_and_wait(stopped)
    assert only(stopped).body == b"hello\n"
    left = {path.name for path in kept(stopped)}
    for name in ("link", "fifo", "hard", "folder", "socket", "open", "huge", "empty", "cut",
            "zeros", "noise"):
        assert f".skipped-1-{name}" in left
        wait_logged(stopped, f"offline-skipped file=1-{name} ")
    assert secret.exists()
    wait_logged(stopped, "offline-unreadable file=1-cut ")


def test_a_refused_one_comes_back_to_who_sent_it(stopped):
    sendmail(stopped, "-f", "bob", "alice", "nobody-there", text=b"Subject: lost\n\nhello\n")
    start_and_wait(stopped)
    mail = only(stopped, "bob")
    assert mail.message["Auto-Submitted"] == "auto-replied"
    assert mail.message["Return-Path"] == "<>"
    assert mail.message["To"] is None and b"550 5.1.1" in mail.body
    assert b"Subject: lost" in mail.body and b"hello" in mail.body
    assert stopped.mails("alice@example.test") == []
    wait_logged(stopped, "offline-refused .*550 5.1.1")


def test_more_refusals_than_a_notice_has_room_for_are_no_hindrance(stopped):
    """The server is one that refuses at once, and with many words."""
    sendmail(stopped, "-f", "bob", *(f"nobody{number}" for number in range(900)))
    (path,) = kept(stopped)
    ours, theirs = socket.socketpair()
    who = [str(pwd.getpwnam(NOBODY).pw_uid), str(pwd.getpwnam(NOBODY).pw_gid)] if os.getuid() == 0 else []
    with theirs, path.open() as mail:
        process = subprocess.Popen(["setpriv", "--no-new-privs", "sh", "-c", 'exec "$@" 3>&2', "sh",
            stopped.stage / "usr/libexec/postern/enqueue", "-t", "stderr", path.name, *who],
            stdin=mail, stdout=theirs)
    notice = []
    with ours, ours.makefile("rwb") as stream:
        def say(text):
            stream.write(text.encode() + b"\r\n")
            stream.flush()
        say("220 slow.test")
        for line in stream:
            if b"<nobody" in line:
                say("550 5.1.1" + " no such user" * 10)
            elif line == b"DATA\r\n":
                say("354 go on")
                notice = list(iter(stream.readline, b".\r\n"))
                say("250 2.0.0 ok")
            else:
                say("250 2.0.0 ok")
    assert process.wait(timeout=30) == 0
    reasons = [line for line in notice if line.startswith(b"    ")]
    assert 200 < len(reasons) < 900 and all(line.endswith(b"no such user\r\n") for line in reasons)


def test_one_that_can_not_come_back_either_stays(stopped):
    sendmail(stopped, "-f", "nobody@elsewhere.test", "nobody-there")
    start_and_wait(stopped)
    wait_logged(stopped, "offline-skipped .*nor returned to its owner")
    (path,) = kept(stopped)
    assert path.name.startswith(".skipped-")


@root
def test_a_user_has_a_bound(stopped):
    for number in range(1000):
        path = offline(stopped) / f"1-{number}"
        path.touch(0o600)
        os.chown(path, pwd.getpwnam(NOBODY).pw_uid, 0)
    said = sendmail(stopped, "alice", user=NOBODY, status=os.EX_TEMPFAIL)
    assert "too much of your mail waits" in said
    sendmail(stopped, "alice")
    assert len(kept(stopped)) == 1001


@root
def test_a_user_has_a_bound_in_bytes(stopped):
    path = offline(stopped) / "1-large"
    with open(path, "wb") as large:
        large.truncate(256 << 20)
    os.chown(path, pwd.getpwnam(NOBODY).pw_uid, 0)
    assert "too much" in sendmail(stopped, "alice", user=NOBODY, status=os.EX_TEMPFAIL)
    os.truncate(path, (256 << 20) + 1)
    with open(path, "rb") as larger:
        result = subprocess.run([program(stopped), "--store", offline(stopped)], stdin=larger,
            stderr=subprocess.PIPE, timeout=20)
    assert result.returncode == os.EX_TEMPFAIL and b"too large to be kept" in result.stderr
    assert kept(stopped) == [path]


def test_an_answer_that_is_temporary_keeps_the_mail(stopped):
    """The server takes none just now: nobody's cron job has to try again."""
    stopped.start()
    stopped.smtpctl("pause", "smtp")
    with socket.socket(socket.AF_UNIX) as door:
        path = stopped.base / "door"
        door.bind(str(path))
        path.chmod(0o777)
        door.listen()
        process = subprocess.Popen([program(stopped), f"-OSmtpSocket={path}",
            options(stopped)[1], "alice"], stdin=subprocess.PIPE)
        process.stdin.write(b"Subject: x\n\nhello\n")
        process.stdin.close()
        connection, _ = door.accept()
        with connection:
            connection.sendall(b"220 mx.test\r\n")
            connection.recv(100)
            connection.sendall(b"421 4.3.2 not now\r\n")
            assert process.wait(20) == 0
    assert len(kept(stopped)) == 1


@root
def test_the_group_makes_files_nowhere_else(stopped):
    folder = stopped.base / "other"
    folder.mkdir(mode=0o777)
    folder.chmod(0o1777)
    for path in (folder, stopped.run, stopped.spool, "/tmp", "/nonexistent"):
        said = subprocess.run([*as_user(NOBODY), program(stopped), "--store", path],
            stdin=open(stopped.config_file, "rb"), stderr=subprocess.PIPE, timeout=20)
        assert said.returncode == os.EX_TEMPFAIL
    assert list(folder.iterdir()) == []


@root
def test_a_service_that_may_get_no_group_sends_mail_but_can_not_have_it_kept(make_postern):
    server = make_postern(extra=NAMED)

    def send():
        return subprocess.run([*as_user(NOBODY), "--no-new-privs", program(server),
            *options(server), "alice"], input=b"Subject: x\n\nhello\n", stderr=subprocess.PIPE,
            timeout=20)
    assert send().returncode == 0
    only(server)
    server.stop()
    result = send()
    assert result.returncode == os.EX_TEMPFAIL and b"no place to keep mail" in result.stderr
    assert kept(server) == []


@root
@pytest.mark.parametrize("limit", ["NOFILE", "FSIZE", "NPROC", "DATA", "STACK"])
def test_limits_of_nothing_never_lose_mail_silently(stopped, limit):
    if SANITIZED and limit in ("NPROC", "DATA"):
        pytest.skip("a sanitizer needs those itself")
    least = 64 * 1024 if limit == "STACK" else 0
    result = subprocess.run([*as_user(NOBODY), "prlimit", f"--{limit.lower()}={least}", "--",
        program(stopped), *options(stopped), "alice"], input=b"Subject: x\n\nhello\n",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30)
    assert (result.returncode == 0) == (len(kept(stopped)) == 1)


@root
@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1, 2]])
def test_closed_descriptors_never_become_the_file(stopped, closed):
    words = " ".join(f"{fd}<&-" if fd == 0 else f"{fd}>&-" for fd in closed)
    subprocess.run([*as_user(NOBODY), "sh", "-c", f'exec "$@" {words}', "sh", program(stopped),
        *options(stopped), "alice"], input=b"Subject: x\n\nhello\n", timeout=30)
    for path in kept(stopped):
        assert path.read_bytes().startswith(b"postern-mail 1\n")


@root
def test_the_environment_and_long_arguments_change_nothing(stopped):
    environment = {"TMPDIR": str(stopped.base / "evil"), "IFS": "/", "LD_PRELOAD": "/evil.so",
        "LD_LIBRARY_PATH": "/evil", "PATH": "/evil", "NAME": "Bad\nX-Evil: yes" + "n" * 5000,
        "HOME": "/evil", "LOGNAME": "root", "USER": "root", "MAILCONF": "/etc/shadow"}
    user = pwd.getpwnam(NOBODY)
    sendmail(stopped, "-C/etc/shadow", "-X/tmp/evil-log", "-oQ/etc", "-OQueueDirectory=/etc",
        "-F" + "x\r\nX-Evil: yes" + "y" * 100000, "alice", user=NOBODY)
    # The dynamic linker of setpriv would heed what that of a setgid program doesn't.
    hostile = subprocess.run([sys.executable, "-c", f"""
import os, pwd
os.setgroups([]); os.setgid({user.pw_gid}); os.setuid({user.pw_uid})
os.execve({str(program(stopped))!r}, {["sendmail", *options(stopped), "alice"]!r},
    {environment!r})
"""], input=b"Subject: x\n\nhello\n", timeout=30)
    assert hostile.returncode == 0
    assert "not an address" in sendmail(stopped, *["a" * 100000] * 10, user=NOBODY,
        status=os.EX_DATAERR)
    sendmail(stopped, *["alice@example.test"] * 30000, user=NOBODY)
    start_and_wait(stopped)
    mails = stopped.wait_mail("alice@example.test", 3)
    for mail in mails:
        assert mail.message["X-Evil"] is None
        assert mail.message["From"].addresses[0].addr_spec == f"{NOBODY}@example.test"


def crowd(server, count):
    return [subprocess.Popen([program(server), *options(server), "alice"],
        stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) for _ in range(count)]


@pytest.mark.time_limit(60)
def test_nothing_is_lost_between_the_file_and_the_250(stopped):
    """The server is killed while it sends what was kept, and sendmail while it keeps: what was said to
    be kept arrives, once or more."""
    told = 0
    for number, process in enumerate(crowd(stopped, 24)):
        process.stdin.write(b"Subject: m%d\n\n" % number + b"text\n" * 2000)
        process.stdin.close()
        if number % 4 == 3:
            process.kill()
        process.wait(20)
        told += process.returncode == 0
    names = [path for path in kept(stopped) if path.name[0] != "."]
    assert len(names) >= told >= 18
    for rounds in range(3):
        stopped.start()
        wait_for(lambda: len([p for p in kept(stopped) if p.name[0] != "."]) <
            len(names) - 4 * rounds or not [p for p in kept(stopped) if p.name[0] != "."], 20)
        stopped.kill("smtpd")
        assert stopped.ended() == -signal.SIGKILL
    start_and_wait(stopped)
    stopped.wait_queue_empty()
    subjects = {mail.message["Subject"] for mail in stopped.mails("alice@example.test")}
    assert len(subjects) == len(names)


@pytest.mark.parametrize("call", ["openat", "fchown", "ftruncate", "write", "fsync", "renameat",
    "exit_group"])
def test_killed_at_each_step_of_keeping_it_tells_no_lie(stopped, tool, call):
    """sendmail dies at that system call of the part that keeps it: half a file is never sent."""
    source = stopped.base / "given"
    source.write_bytes(b"postern-mail 1\nfrom bob\nauthor bob\nto alice\n\nSubject: x\n\nhello\n")
    with open(source, "rb") as given:
        result = subprocess.run([tool("strace"), "-qq", "-o", "/dev/null", f"-etrace={call}",
            f"-einject={call}:signal=KILL:when={7 if call == 'openat' else 1}", program(stopped),
            "--store", offline(stopped)], stdin=given, stderr=subprocess.DEVNULL, timeout=20)
    whole = [path for path in kept(stopped) if path.name[0] != "."]
    assert len(whole) <= 1
    for path in whole:
        assert path.read_bytes() == source.read_bytes()
    if result.returncode == 0:
        assert whole


def test_an_error_at_any_step_of_keeping_it_is_told_and_leaves_nothing(stopped, tool):
    source = stopped.base / "given"
    source.write_bytes(b"postern-mail 1\nfrom bob\nauthor bob\nto alice\n\nSubject: x\n\nhello\n")
    for call in ("fchown", "ftruncate", "write", "fsync", "renameat", "fsync:2"):
        call, _, when = call.partition(":")
        with open(source, "rb") as given:
            result = subprocess.run([tool("strace"), "-qq", "-o", "/dev/null", f"-etrace={call}",
                f"-einject={call}:error=EIO:when={when or 1}", program(stopped), "--store",
                offline(stopped)], stdin=given, stderr=subprocess.PIPE, timeout=20,
                env=os.environ | {"ASAN_OPTIONS": "detect_leaks=0"}) # which can't be traced
        assert result.returncode == os.EX_TEMPFAIL, call
        assert b"Input/output error" in result.stderr, call
        assert kept(stopped) == [], call


WATCHER = """
import os
while True:
    with open("/proc/loadavg") as load:
        newest = int(load.read().split()[-1])
    for pid in range(newest, newest - 6, -1):
        try:
            exe = os.readlink(f"/proc/{pid}/exe")
            if exe.endswith(("/enqueue", "/smtpd")):
                print(exe, [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(
                    f"/proc/{pid}/fd")], flush=True)
        except OSError:
            pass
"""


@root
@pytest.mark.skipif(SANITIZED, reason="a sanitizer makes a process one that may be looked into")
def test_a_user_never_gets_at_the_descriptors_of_the_process_that_sends_his_mail(stopped):
    for _ in range(50):
        sendmail(stopped, "alice", user=NOBODY)
    watcher = subprocess.Popen([*as_user(NOBODY), sys.executable, "-c", WATCHER], text=True,
        stdout=subprocess.PIPE)
    try:
        start_and_wait(stopped)
    finally:
        watcher.kill()
    assert watcher.communicate()[0] == ""


@root
def test_a_user_who_stops_his_process_holds_up_nobody(stopped):
    for _ in range(8):
        sendmail(stopped, "alice", user=NOBODY, text=b"Subject: his\n\n" + b"x\n" * 500000)
    sendmail(stopped, "bob", user="daemon")
    stopped.start()
    user = pwd.getpwnam(NOBODY).pw_uid

    def stop_one():
        for entry in os.scandir("/proc"):
            try:
                if entry.name.isdigit() and entry.stat().st_uid in (user, 0) and \
                        os.readlink(f"{entry.path}/exe").endswith("/enqueue") and \
                        f"\nUid:\t{user}\t" in open(f"{entry.path}/status").read():
                    os.kill(int(entry.name), signal.SIGSTOP)
                    return int(entry.name)
            except OSError:
                continue
        return None
    stopped.allow("offline-not-sent")
    wait_for(stop_one, 15)
    only(stopped, "bob")
    # Ended at once, and tried again.
    wait_logged(stopped, f"offline-not-sent file=[^ ]+ uid={user} signal=9")
    assert {mail.message["Subject"] for mail in stopped.wait_mail("alice@example.test", 8,
        timeout=45)} == {"his"}
