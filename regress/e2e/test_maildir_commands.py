"""Aliases to commands: what they get, what their end means, and that none of them holds up
other mail or leaves anything behind."""

import os
import pathlib
import pwd
import re
import signal
import time

import pytest

from postern import processes, wait_for

RULES = """
action "in" maildir pipes
match from any for domain <accounts> action "in"
"""


@pytest.fixture
def piped(make_postern):
    """An instance whose aliases may run commands; `out` is a folder they can write to."""
    postern = make_postern(rules=RULES)
    postern.out = postern.base / "out"
    postern.out.mkdir()
    if os.geteuid() == 0:
        entry = pwd.getpwnam("_vmail")
        os.chown(postern.out, entry.pw_uid, entry.pw_gid)
    return postern


def add(postern, command, address="cmd@example.test"):
    postern.add_alias(address, "|" + command.replace("@OUT@", str(postern.out)))


def script(postern, text, name="script"):
    """A shell script for what doesn't read well in one line; its path."""
    path = postern.base / name
    path.write_text("#!/bin/sh\n" + text.replace("@OUT@", str(postern.out)))
    path.chmod(0o755)
    return str(path)


def other_mail_goes_on(postern):
    before = len(postern.mails("alice@example.test"))
    postern.send("alice@example.test")
    postern.wait_mail("alice@example.test", before + 1)


def test_a_command_gets_the_message_and_what_is_known_of_it(piped):
    add(piped, script(piped, 'cat >@OUT@/message\nenv >@OUT@/env\nmv @OUT@/env @OUT@/done\n'))
    piped.send("cmd@example.test", "Subject: x\r\n\r\n.dots\r\n")
    done = wait_for(lambda: (piped.out / "done").exists() and piped.out / "done", 15)
    environment = dict(line.split("=", 1) for line in done.read_text().splitlines())
    assert environment["SENDER"] == "sender@client.test"
    assert environment["RECIPIENT"] == "cmd@example.test"
    assert "POSTERN_BUILD" not in environment and "LD_PRELOAD" not in environment
    data = (piped.out / "message").read_bytes()
    first, data = data.split(b"\n", 1)
    assert re.fullmatch(rb"From sender@client\.test  \w{3} \w{3} [ \d]\d [\d:]{8} \d{4}", first)
    assert data.startswith(b"Return-Path: <sender@client.test>\nDelivered-To: cmd@example.test\n")
    assert data.endswith(b"\n\n.dots\n") and b"\r" not in data
    piped.wait_queue_empty()


@pytest.mark.parametrize("status, enhanced, permanent", [
    (67, "5.1.1", True), (77, "5.7.0", True), (255, "5.3.0", True),
    (75, "4.3.0", False), (127, "4.3.5", False),
])
def test_exit_statuses_mean_what_sysexits_says(piped, status, enhanced, permanent):
    add(piped, f"echo words of the command; exit {status}")
    piped.send("cmd@example.test", sender="alice@example.test")
    if permanent:
        (mail,) = piped.wait_mail("alice@example.test")
        assert f"Status: {enhanced}".encode() in mail.data
        assert b"words of the command" in mail.data
        piped.wait_queue_empty()
    else:
        (envelope,) = wait_for(lambda: [e for e in piped.queue() if enhanced in e["error"]], 15)
        assert "words of the command" in envelope["error"]


def test_death_by_a_signal_is_temporary(piped):
    add(piped, "kill -KILL $$")
    piped.send("cmd@example.test")
    wait_for(lambda: [e for e in piped.queue() if "signal 9" in e["error"]], 15)


def test_a_command_that_never_reads_and_one_that_writes_much_succeed(piped):
    add(piped, "exit 0", "deaf@example.test")
    add(piped, "head -c 1073741824 /dev/zero", "loud@example.test")
    piped.send("deaf@example.test", "Subject: x\r\n\r\n" + ("x" * 998 + "\r\n") * 1000)
    piped.send("loud@example.test")
    piped.wait_queue_empty()
    lines = piped.log_lines("delivered")
    assert {line["to"] for line in lines} >= {"deaf@example.test", "loud@example.test"}
    assert all(line["command"] in ("exit 0", "head -c 1073741824 /dev/zero") for line in lines)
    wait_for(lambda: "command head -c 1073741824 /dev/zero, " in piped.smtpctl("trace", "message",
        "loud@example.test").stdout, 10, "the history names the command")


def test_a_command_that_sleeps_holds_up_nobody(piped):
    add(piped, "echo $$ >@OUT@/pid; exec sleep 600")
    piped.send("cmd@example.test")
    pid = int(wait_for(lambda: (piped.out / "pid").exists() and (piped.out / "pid").read_text(), 15))
    began = time.monotonic()
    other_mail_goes_on(piped)
    assert time.monotonic() - began < 10
    assert pid in processes()
    # It ends with the suite, which doesn't wait for it for ever; the mail stays queued.
    piped.stop(timeout=40)
    wait_for(lambda: pid not in processes(), 10, "the command is gone")
    piped.start()
    assert [e for e in piped.queue() if e["dest"] == "cmd@example.test"]
    # It is run again; the next stop needn't wait.
    again = int(wait_for(lambda: (piped.out / "pid").read_text().strip() not in ("", str(pid)) and
        (piped.out / "pid").read_text(), 15))
    os.kill(again, signal.SIGKILL)
    piped.wait_log("delivery-deferred", to="cmd@example.test")
    piped.smtpctl("remove", "all")


def test_children_left_behind_are_killed(piped):
    add(piped, script(piped, """
sleep 600 & echo $! >@OUT@/group
setsid sh -c 'echo $$ >@OUT@/session; exec sleep 600' &
until test -s @OUT@/session; do sleep 0.01; done
"""))
    piped.send("cmd@example.test")
    piped.wait_queue_empty()
    for name in ("group", "session"):
        assert int((piped.out / name).read_text()) not in processes()


def test_what_peers_say_is_never_a_shells(piped):
    add(piped, 'printf "%s" "$SENDER" >@OUT@/sender')
    sender = '"$(touch hit);`touch hit`|touch hit"@client.test'
    with piped.wire() as wire:
        wire.hello()
        wire.command(f"MAIL FROM:<{sender}>", 250)
        wire.command("RCPT TO:<cmd@example.test>", 250)
        wire.command("DATA", 354)
        wire.send("Subject: x\r\n\r\nx\r\n.\r\n")
        wire.expect(250)
    piped.wait_queue_empty()
    assert (piped.out / "sender").read_text() == sender
    assert not list(pathlib.Path(piped.base).rglob("hit")) and not os.path.exists("/hit")


def test_commands_are_refused_where_the_action_does_not_allow_them(postern):
    result = postern.smtpctl("alias", "add", "cmd@example.test", "|true", check=False)
    assert result.returncode != 0
