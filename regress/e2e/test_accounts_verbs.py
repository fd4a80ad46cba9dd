"""The accounts database as an administrator uses it: smtpctl domain, user and alias."""

import os
import pwd
import subprocess
import threading

import pytest

from postern import wait_for

PASSWORD = "correct horse battery\n"


def rcpt(postern, address):
    """The reply to RCPT for this address, as one text."""
    with postern.wire() as wire:
        wire.hello()
        wire.command("MAIL FROM:<sender@client.test>", 250)
        return repr(wire.command(f"RCPT TO:<{address}>"))


def test_a_user_is_taken_at_once_and_refused_when_deleted(make_postern):
    postern = make_postern(accounts=False)
    assert rcpt(postern, "carol@example.org").startswith("550 5.7.1")
    postern.add_domain("example.org")
    assert rcpt(postern, "carol@example.org").startswith("550 5.1.1")
    postern.add_user("carol@example.org")
    assert rcpt(postern, "carol@example.org").startswith("250")
    postern.send("Carol@Example.ORG")
    postern.wait_mail("carol@example.org")
    postern.smtpctl("user", "del", "carol@example.org")
    assert rcpt(postern, "carol@example.org").startswith("550 5.1.1")
    postern.smtpctl("domain", "del", "example.org")
    assert rcpt(postern, "carol@example.org").startswith("550 5.7.1")
    # What was delivered stays.
    assert len(postern.mails("carol@example.org")) == 1


@pytest.mark.parametrize("words,text", [
    (["domain", "add", "example.test"], "domain example.test already exists"),
    (["domain", "add", "-x-"], "not a domain"),
    (["domain", "del", "nowhere.test"], "domain nowhere.test doesn't exist"),
    (["domain", "del", "example.test"], "still has"),
    (["user", "add", "alice@example.test"], "user alice@example.test already exists"),
    (["user", "add", "carol@nowhere.test"], "domain nowhere.test doesn't exist"),
    (["user", "add", "../x@example.test"], "not an address"),
    (["user", "add", "a/b@example.test"], "can't hold"),
    (["user", "add", "team@example.test"], "is an alias"),
    (["user", "del", "carol@example.test"], "user carol@example.test doesn't exist"),
    (["user", "passwd", "carol@example.test"], "user carol@example.test doesn't exist"),
    (["user", "quota", "carol@example.test", "1M"], "user carol@example.test doesn't exist"),
    (["alias", "add", "x@nowhere.test", "alice"], "domain nowhere.test doesn't exist"),
    (["alias", "add", "x@example.test", "/etc/passwd"], "can't be an alias's target"),
    (["alias", "add", "x@example.test", ":include:/etc"], "can't be an alias's target"),
    (["alias", "add", "x@example.test", "|/bin/true"], "pipes"),
    (["alias", "del", "x@example.test"], "alias x@example.test doesn't exist"),
    (["alias", "del", "team@example.test", "carol"], "is not a target"),
])
def test_what_makes_no_sense_is_refused_in_clear_words(postern, words, text):
    result = postern.smtpctl(*words, input=PASSWORD, check=False)
    assert result.returncode != 0
    assert text in result.stdout + result.stderr


def test_listings_show_what_was_added(postern):
    postern.add_domain("second.test")
    postern.smtpctl("user", "quota", "alice@example.test", "2M", "30")
    postern.add_alias("@second.test", "alice@example.test")
    listing = postern.smtpctl("domain", "list").stdout
    assert listing.split() == ["example.test", "second.test"]
    lines = postern.smtpctl("user", "list").stdout.splitlines()
    assert lines == ["alice@example.test|2097152|30", "bob@example.test|0|0"]
    aliases = postern.smtpctl("alias", "list").stdout
    assert "team@example.test" in aliases and "@second.test" in aliases
    assert "team@example.test" not in postern.smtpctl("alias", "list", "second.test").stdout


def test_a_long_listing_is_complete_while_mail_is_taken(postern):
    """More lines than one portion, longer than a frame, and recipients are still answered."""
    for start in range(0, 900, 50):
        postern.smtpctl("alias", "add", "all@example.test",
            *(f"member{n}" for n in range(start, start + 50)))
    for number in range(250):
        postern.smtpctl("alias", "add", f"a{number}@example.test", "alice")
    answers = []
    thread = threading.Thread(
        target=lambda: [answers.append(rcpt(postern, "alice@example.test")) for _ in range(20)])
    thread.start()
    text = postern.smtpctl("alias", "list").stdout
    thread.join()
    assert [n for n in range(900) if f"|member{n}@example.test" not in text] == []
    assert [n for n in range(250) if f"a{n}@example.test|" not in text] == []
    assert all(answer.startswith("250") for answer in answers) and len(answers) == 20


def test_changes_are_logged_with_the_uid_and_never_a_hash(postern):
    postern.smtpctl("user", "add", "dora@example.test", input="secret words\n")
    postern.smtpctl("user", "passwd", "dora@example.test", input="other words\n")
    line = postern.wait_log("account-changed", verb="user-passwd", name="dora@example.test")
    assert line["uid"].isdigit()
    text = postern.log_text()
    assert "$y$" not in text and "secret words" not in text and "other words" not in text


@pytest.mark.parametrize("words, event, fields", [
    (["domain", "add", "third.test"], "account-changed", {"verb": "domain-add", "name": "third.test"}),
    (["alias", "add", "x@example.test", "alice"], "account-changed",
        {"verb": "alias-add", "name": "x@example.test", "target": "alice"}),
    (["user", "quota", "bob@example.test", "2M", "30"], "account-changed",
        {"verb": "user-quota", "name": "bob@example.test"}),
    (["domain", "del", "none.test"], "account-change-refused",
        {"verb": "domain-del", "name": "none.test"})], ids=lambda value: " ".join(value)
    if isinstance(value, list) else "")
def test_a_change_leaves_one_line(postern, words, event, fields):
    postern.mark_log()
    postern.smtpctl(*words, check=False)
    # Control is done with it before this is answered.
    postern.smtpctl("pause", "smtp")
    postern.wait_log("control-command", verb="pause")
    lines = [line for line in postern.log_lines()
        if fields["name"] in line.text]
    assert [(line.process, line.event) for line in lines] == [("directory", event)]
    assert lines[0]["uid"] == str(os.geteuid())
    assert {key: lines[0][key] for key in fields} == fields


def test_what_was_acknowledged_survives_kills_of_directory(postern):
    """kill -9 at any moment: each change that smtpctl reported as done is there, none is torn."""
    postern.allow("directory")
    done, unknown = [], []
    stop = threading.Event()

    def add():
        number = 0
        while not stop.is_set():
            number += 1
            result = postern.smtpctl("user", "add", f"u{number}@example.test", "no-password",
                check=False)
            (done if result.returncode == 0 else unknown).append(f"u{number}@example.test")

    thread = threading.Thread(target=add)
    thread.start()
    try:
        for kills in range(5):
            before = len(done)
            wait_for(lambda: len(done) >= before + 3, 30, "users are added")
            assert postern.kill_and_wait_back("directory") < 2
    finally:
        stop.set()
        thread.join()
    wait_for(lambda: postern.smtpctl("user", "list", check=False).returncode == 0, 10)
    there = {line.split("|")[0] for line in postern.smtpctl("user", "list").stdout.splitlines()}
    assert set(done) <= there
    assert there <= set(done) | set(unknown) | {"alice@example.test", "bob@example.test"}
    for address in done[-3:]:
        assert rcpt(postern, address).startswith("250")


def test_a_database_in_use_is_temporary_and_comes_back(postern):
    """451 while another process holds the lock; nothing is refused for good; back by itself."""
    lock_file = str(postern.state / "accounts/lock")
    lock = subprocess.Popen(["flock", lock_file, "cat"], stdin=subprocess.PIPE)

    def waits():
        return f":{os.stat(lock_file).st_ino} " in "".join(
            line for line in open("/proc/locks") if "->" in line)
    try:
        wait_for(waits, 10, "flock waits")
        # It has the lock before the next directory comes; on a busy machine that may be the one
        # after, which comes later.
        while waits():
            postern.kill_and_wait_back("directory")
        wait_for(lambda: rcpt(postern, "alice@example.test").startswith("451 4.3.0"), 10)
        assert rcpt(postern, "nobody@example.test").startswith("451 4.3.0")
    finally:
        lock.communicate(timeout=10)
    wait_for(lambda: rcpt(postern, "alice@example.test").startswith("250"), 15)
    assert rcpt(postern, "nobody@example.test").startswith("550 5.1.1")


@pytest.mark.root
def test_a_full_disk_refuses_changes_and_nothing_else(make_postern):
    """Users go on getting mail while nothing can be added, and what was added stays."""
    postern = make_postern(start=False)
    owner = pwd.getpwnam("_smtpt")
    postern.state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o",
        f"size=8m,mode=700,uid={owner.pw_uid},gid={owner.pw_gid}", "none", postern.state], check=True)
    try:
        postern.start()
        postern.add_domain("example.test")
        postern.add_user("alice@example.test")
        with open(postern.state / "filler", "wb", buffering=0) as filler:
            with pytest.raises(OSError):
                while True:
                    filler.write(bytes(4096))
        result = postern.smtpctl("user", "add", "carol@example.test", "no-password", check=False)
        assert result.returncode != 0
        assert "disk is full" in postern.log_text()
        postern.send("alice@example.test")
        postern.wait_mail("alice@example.test")
        assert rcpt(postern, "carol@example.test").startswith("550 5.1.1")
        (postern.state / "filler").unlink()
        postern.add_user("carol@example.test")
        postern.kill_and_wait_back("directory")
        wait_for(lambda: rcpt(postern, "carol@example.test").startswith("250"), 10)
        assert rcpt(postern, "alice@example.test").startswith("250")
        postern.stop()
    finally:
        subprocess.run(["umount", "-l", postern.state], check=True)
