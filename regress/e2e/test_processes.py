"""Each process of the suite has the privileges of the design's table and no more, as /proc shows it."""

import grp
import imaplib
import os
import pathlib
import pwd
import re
import signal

import pytest

import postern as harness
from postern import BUILD, wait_for
from test_auth import PASSWORD

ACCOUNTS = {"listener": "_smtpd", "keeper": "_smtpk", "queue": "_smtpq", "directory": "_smtpt", "resolver": "_smtpl",
    "control": "_smtpc", "relay": "_smtpr", "mda": "_vmail", "mailaccess": "_smtpa"}


def status(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":", 1) for line in lines)


def all_children(postern):
    postern.send("alice@example.test")
    postern.wait_mail("alice@example.test")  # there is an mda now
    return {pid: name for pid, name in postern.pids().items() if name != "smtpd"}


@pytest.mark.root
def test_each_program_has_an_account_of_its_own(postern_with_imap):
    for pid, name in all_children(postern_with_imap).items():
        seen = status(pid)
        entry = pwd.getpwnam(ACCOUNTS[name])
        assert seen["Uid"].split() == [str(entry.pw_uid)] * 4, name
        assert seen["Gid"].split() == [str(entry.pw_gid)] * 4, name
        assert seen["Groups"].split() == [], name


def test_no_program_has_a_capability_or_can_gain_one(postern_with_imap):
    for pid, name in all_children(postern_with_imap).items():
        seen = status(pid)
        for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(seen[kind], 16) == 0, (name, kind)
        assert seen["NoNewPrivs"].strip() == "1", name
        if os.geteuid() == 0:
            assert int(seen["CapBnd"], 16) == 0, name


def is_sanitized():
    return b"__asan_init" in (BUILD / "bin/queue").read_bytes()


@pytest.mark.skipif(is_sanitized(), reason="sanitizers make calls of their own")
def test_all_that_run_no_commands_have_a_filter_on_system_calls(postern_with_imap):
    with imaplib.IMAP4("127.0.0.1", postern_with_imap.imap_port) as client:
        client.login("alice@example.test", PASSWORD)
        seen = {name: status(pid)["Seccomp"].strip()
            for pid, name in all_children(postern_with_imap).items()}
    assert seen.pop("mda") == "0"
    assert "mailbox" in seen and set(seen.values()) == {"2"}, seen


@pytest.mark.parametrize("user", [pytest.param(None, marks=pytest.mark.root), "nobody"])
def test_all_that_run_no_commands_are_confined_by_landlock(make_postern, user):
    port = harness.free_port()
    postern = make_postern(user=user, verbose=True,
        extra=f"listen on 127.0.0.1 port {port} imap auth-cleartext")
    with imaplib.IMAP4("127.0.0.1", port) as client:
        client.login("alice@example.test", PASSWORD)
        names = set(all_children(postern).values())
        assert "mailbox" in names
    text = postern.log_file.read_text()
    if "not confined by Landlock" in text:
        pytest.skip("this kernel has no Landlock")
    confined = set(re.findall(r" (\w+)\[\d+\]: confined by Landlock", text))
    assert confined == names - {"mda"}


@pytest.mark.root
def test_those_that_need_no_files_see_none(postern_with_imap):
    for pid, name in all_children(postern_with_imap).items():
        root = os.readlink(f"/proc/{pid}/root")
        if name in ("listener", "keeper", "resolver", "control", "relay", "mailaccess"):
            assert root == str(postern_with_imap.run / "empty"), name
            assert os.listdir(f"/proc/{pid}/root") == [], name
            # Nor could they leave anything there.
            assert os.stat(root).st_uid == 0 and os.stat(root).st_mode & 0o222 & ~0o200 == 0
        elif name == "queue":
            assert root == str(postern_with_imap.spool)
        assert os.readlink(f"/proc/{pid}/cwd") == root, name


def test_no_program_leaves_a_core_with_other_people_s_mail(postern_with_imap):
    for pid, name in all_children(postern_with_imap).items():
        (line,) = [line for line in pathlib.Path(f"/proc/{pid}/limits").read_text().splitlines()
            if line.startswith("Max core file size")]
        assert line.split()[4:6] == ["0", "0"], name


def sockets_in(pid, states):
    """Local (address, port) of a process's TCP sockets in these states."""
    inodes = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    found = []
    for table in ("tcp", "tcp6"):
        path = pathlib.Path(f"/proc/{pid}/net/{table}")
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = line.split()
            if fields[9] in inodes and fields[3] in states:
                found.append(fields[1])
    return found


def test_only_listeners_and_the_supervisor_hold_sockets_of_the_network(postern_with_imap):
    for pid, name in all_children(postern_with_imap).items():
        listening = sockets_in(pid, {"0A"})
        if name in ("listener", "mailaccess"):
            assert len(listening) == 1, name
        else:
            assert listening == [], name


def test_a_restarted_program_has_no_more_than_the_first(postern):
    postern.kill_and_wait_back("queue")

    def settled():
        return [pid for pid in postern.pids("queue") if status(pid)["NoNewPrivs"].strip() == "1"]
    (pid,) = wait_for(settled)
    assert int(status(pid)["CapEff"], 16) == 0
    if os.geteuid() == 0:
        assert status(pid)["Uid"].split()[0] == str(pwd.getpwnam("_smtpq").pw_uid)


@pytest.mark.root
def test_the_control_socket_is_for_its_group(postern):
    info = postern.socket.stat()
    assert info.st_mode & 0o777 == 0o660
    assert info.st_gid == grp.getgrnam("_smtpc").gr_gid
    assert info.st_uid == 0


@pytest.mark.root
def test_spool_and_accounts_are_closed_to_others(postern):
    for path, account in ((postern.spool, "_smtpq"), (postern.state, "_smtpt")):
        info = path.stat()
        assert info.st_mode & 0o777 == 0o700, path
        assert info.st_uid == pwd.getpwnam(account).pw_uid, path


@pytest.mark.root
def test_without_root_all_runs_as_the_caller_and_says_so(make_postern):
    postern = make_postern(user="nobody")
    nobody = str(pwd.getpwnam("nobody").pw_uid)
    for pid, name in all_children(postern).items():
        assert status(pid)["Uid"].split() == [nobody] * 4, name
        assert status(pid)["NoNewPrivs"].strip() == "1", name
    assert postern.log_file.read_text().count("not started as root") == 1


@pytest.mark.root
def test_another_s_spool_is_refused_with_a_word_on_what_to_do(make_postern):
    postern = make_postern(start=False)
    postern.write_config()
    postern.spool.mkdir()
    os.chown(postern.spool, pwd.getpwnam("nobody").pw_uid, -1)
    result = postern.smtpd("-d", "-f", str(postern.config_file))
    assert result.returncode == 73
    assert str(postern.spool) in result.stderr and "chown" in result.stderr


def test_a_second_sigterm_ends_all_at_once(postern):
    with postern.wire() as wire:
        wire.hello()
        wire.command("MAIL FROM:<erin@client.test>", 250)
        wire.command("RCPT TO:<alice@example.test>", 250)
        wire.command("DATA", 354)
        wire.send("half a mess")  # a session with something in hand holds its listener
        postern.allow(r"child-(killed|exited)")
        for pid in postern.pids():
            postern._expected_dead.add(pid)
        postern.process.send_signal(signal.SIGTERM)
        wait_for(lambda: postern.log_lines("stopping"))
        postern.process.send_signal(signal.SIGTERM)
        postern.process.wait(3)
