"""An administrator looks after users' Sieve scripts: smtpctl sieve."""

import json
import os
import pwd
import re
import socket
import struct

import pytest

from control_suite import DONE, ControlSuite, read_result, result, text
from postern import TOP, Postern, wait_for

USER = "alice@example.test"
BOB = "bob@example.test"
KEEP = "keep;\r\n"
BAD = 'require "fileinto";\r\nkeep;\r\nbogus "x";\r\n'


@pytest.fixture(scope="module")
def server(stage):
    """Without a listener for ManageSieve, and so without mailaccess."""
    instance = Postern(stage)
    instance.start()
    try:
        instance.add_domain("example.test")
        instance.add_user(USER)
        instance.add_user(BOB)
        yield instance
    finally:
        instance.destroy()


@pytest.fixture
def sieve(server, tmp_path):
    """A function: smtpctl sieve with these words; its status and what it wrote. Afterwards there are no
    scripts."""
    def run(*words, status=0, text=None, options=()):
        done = server.smtpctl(*options, "sieve", *words, input=text, check=False)
        assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
        return done.stdout if status == 0 else done.stderr
    yield run
    run("deactivate", USER)
    for line in run("list", USER).splitlines():
        run("delete", USER, line.split("|")[0])
    server.check()


def scripts(server, user=USER):
    return server.maildir(user) / "sieve"


def test_a_script_is_put_shown_made_active_and_deleted(server, sieve, tmp_path):
    script = tmp_path / "script"
    script.write_text(KEEP)
    assert sieve("list", USER) == ""
    assert sieve("put", USER, "one", script) == "command succeeded\n"
    assert sieve("put", USER, "two", text=KEEP + KEEP) == "command succeeded\n"
    sieve("activate", USER, "one")
    assert sorted(sieve("list", USER).splitlines()) == ["one|active", "two|"]
    found = [json.loads(line) for line in sieve("list", USER, options=["-j"]).splitlines()]
    assert {entry["name"]: entry["active"] for entry in found} == {"one": True, "two": False}
    assert sieve("get", USER, "two").encode() == (KEEP + KEEP).replace("\r\n", "\n").encode()
    assert (scripts(server) / "two.sieve").read_bytes() == (KEEP + KEEP).encode()
    assert os.readlink(scripts(server) / "active") == "one.sieve"
    assert "active" in sieve("delete", USER, "one", status=65)
    sieve("deactivate", USER)
    assert not (scripts(server) / "active").is_symlink()
    sieve("delete", USER, "one")
    assert sieve("list", USER) == "two|\n"
    server.wait_log("control-command", verb="sieve", arguments=f"{USER} put one")
    server.wait_log("sieve-changed", user=USER, script="one", what="stored")
    server.wait_log("sieve-changed", user=USER, script="one", what="made active")


def test_what_is_wrong_is_said(server, sieve, tmp_path):
    sieve("put", USER, "kept", text=KEEP)
    words = sieve("put", USER, "kept", text=BAD, status=65)
    assert words.startswith("smtpctl: command failed: line 3: ") and "bogus" in words
    assert sieve("get", USER, "kept") == "keep;\n"
    assert "at most 64 KiB" in sieve("put", USER, "big", text="#" * 65537, status=65)
    for command in ("get", "activate", "delete"):
        assert "no script of that name" in sieve(command, USER, "none", status=65), command
    for user in ("nobody@example.test", "nobody@elsewhere.test"):
        assert sieve("list", user, status=67), user
    assert sieve("put", USER, "x", tmp_path / "none", status=66)
    for words in (["put", USER], ["get", USER, "../x"], ["list", ""], ["list"], ["list", "x" * 129],
            ["put", USER, "a", "b", "c"]):
        sieve(*words, status=64)


def test_what_is_hardly_meant_is_said_and_stored(server):
    done = server.smtpctl("sieve", "put", BOB, "odd", input="stop;\nkeep;\n", check=False)
    assert (done.returncode, done.stdout) == (0, "command succeeded\n")
    assert done.stderr == 'smtpctl: warning: line 2: what is behind "stop" is never reached\n'
    server.smtpctl("sieve", "delete", BOB, "odd")


SCRIPT = """require ["fileinto", "imap4flags", "envelope"];
if header :contains "Subject" "offer" { discard; }
elsif envelope :is "from" "list@example.net" { fileinto :flags "\\\\Seen" "Lists"; }
elsif header :is "Subject" "move" { redirect "bob@example.net"; }
"""


@pytest.mark.parametrize("subject, sender, expected", [("an offer", "x@example.net", "discard||\n"),
    ("news", "list@example.net", "fileinto|Lists|\\\\Seen\n"), ("move", "x@example.net",
    "redirect|bob@example.net|\n"), ("hello", "x@example.net", "keep||\n")])
def test_a_message_shows_what_a_script_does(server, sieve, tmp_path, subject, sender, expected):
    sieve("put", USER, "sort", text=SCRIPT)
    message = f"Return-Path: <{sender}>\nSubject: {subject}\n\ntext\n"
    (tmp_path / "message").write_text(message)
    assert sieve("test", USER, "sort", tmp_path / "message") == expected
    assert sieve("test", USER, "sort", text=message) == expected
    action, argument, flags = expected.rstrip("\n").replace("\\\\", "\\").split("|")
    assert json.loads(sieve("test", USER, "sort", text=message, options=["-j"])) == {
        "action": action, "argument": argument, "flags": flags}


@pytest.mark.root
def test_the_files_are_the_owners(server, sieve):
    sieve("put", USER, "mine", text=KEEP)
    owner = pwd.getpwnam("_vmail")
    for path in (scripts(server), scripts(server) / "mine.sieve"):
        assert (path.stat().st_uid, path.stat().st_gid) == (owner.pw_uid, owner.pw_gid), path
        assert path.stat().st_mode & 0o077 == 0
    # Root never follows where the user leads.
    for pid in server.pids("mailbox"):
        assert os.stat(f"/proc/{pid}").st_uid == owner.pw_uid


@pytest.mark.root
def test_nobody_else_may(server, sieve):
    sieve("put", USER, "mine", text=KEEP)
    done = server.smtpctl("sieve", "get", USER, "mine", check=False, user="nobody")
    assert done.returncode == 77 and KEEP.strip() not in done.stdout


def test_users_are_told_apart(server, sieve):
    sieve("put", USER, "mine", text=KEEP)
    assert sieve("list", BOB) == ""
    assert "no script" in sieve("get", BOB, "mine", status=65)


def test_a_mailbox_that_cannot_be_opened_is_told(server, sieve):
    home = server.maildir(BOB)
    for pid in server.pids("mailbox"):
        server.allow(r"child-\w+.*program=mailbox")
        os.kill(pid, 9)
        wait_for(lambda: pid not in server.pids("mailbox"), 10, "it is gone")  # noqa: B023
    if home.exists():
        home.rename(home.with_name("away"))
    home.symlink_to("/etc")
    try:
        assert sieve("list", BOB, status=75)
    finally:
        home.unlink()


# What control makes of its peers' answers


def number_of(header, name):
    """Of a message, in its header's enum."""
    found = re.search(r"\nenum ipc_\w+_type \{(.*?)\n\};", (TOP / "common" / header).read_text(), re.DOTALL)
    names = re.findall(r"^\t([A-Z_]+)\b", found[1], re.MULTILINE)
    return names.index(name) + 1


SCRIPTS = number_of("ipc_control.h", "CONTROL_SCRIPTS")
SESSION = number_of("ipc_supervisor.h", "SUPERVISOR_CONTROL_SESSION")


@pytest.fixture
def asked():
    """Control, a client that waits for scripts, and what the directory was asked."""
    with ControlSuite() as suite:
        client = suite.connect()
        client.send(SCRIPTS, 5, struct.pack("<I", 12345) + text(USER) + text("list"))
        question = suite.directory.receive()
        assert question.type == SCRIPTS
        # The caller's own word about who it is counts for nothing.
        assert question.payload == struct.pack("<I", os.getuid()) + text(USER) + text("list")
        yield suite, client, question.id


def answer_of(client):
    done = client.receive()
    assert (done.type, done.id) == (DONE, 5)
    return read_result(done.payload), done.fd


def test_the_session_is_begun_and_handed_over(asked):
    suite, client, ident = asked
    ours, theirs = socket.socketpair()
    suite.supervisor.send(SESSION, 0, struct.pack("<Q", ident), theirs.fileno())
    theirs.close()
    (code, _, _), descriptor = answer_of(client)
    assert code == 0 and descriptor is not None
    size, protocol = struct.unpack("<HB", ours.recv(3))
    rest = ours.recv(4096)
    assert (protocol, len(rest)) == (2, size - 1) and rest[8:] == text("local") + text("")
    with socket.socket(fileno=descriptor) as session:
        session.sendall(b"NOOP\r\n")
        assert ours.recv(100) == b"NOOP\r\n"
    ours.close()


def test_sessions_that_nobody_waits_for_are_closed(asked):
    suite, client, ident = asked
    for other in (ident + 1, ident + 2**32, 2**64 - 1, 0):
        ours, theirs = socket.socketpair()
        ours.settimeout(10)
        suite.supervisor.send(SESSION, 0, struct.pack("<Q", other), theirs.fileno())
        theirs.close()
        assert ours.recv(100) == b""
        ours.close()
    suite.supervisor.send(SESSION, 0, struct.pack("<Q", ident))
    (code, _, words), descriptor = answer_of(client)
    assert code == 75 and "can't be opened" in words and descriptor is None


def test_the_directorys_refusal_is_passed_on(asked):
    suite, client, ident = asked
    suite.directory.send(DONE, ident, result(67, words="no such user"))
    assert answer_of(client) == ((67, 0, "no such user"), None)


def test_a_directory_that_dies_is_told(asked):
    suite, client, _ = asked
    suite.directory.close()
    (code, _, words), _ = answer_of(client)
    assert code == 75 and "directory" in words
