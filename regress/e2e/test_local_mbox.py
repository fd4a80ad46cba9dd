"""Delivery to mbox files, and the programs of Debian that read and lock them."""

import contextlib
import fcntl
import grp
import mailbox
import os
import pathlib
import pty
import re
import shutil
import signal
import subprocess

import pytest

from postern import is_root, wait_for
from system_users import Users

UID = 54321 if is_root() else os.geteuid()
GID = 54321 if is_root() else os.getegid()


@contextlib.contextmanager
def as_user():
    """A reader is the mailbox's owner, and leaves files that are his."""
    if not is_root():
        yield
        return
    os.setegid(GID)
    os.seteuid(UID)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


class Box:
    """A user of a userbase table, with a home of his own, and his mbox."""

    def __init__(self, make_postern, path=None, options=""):
        self.name = f"walter-{os.getpid()}"
        self.address = f"{self.name}@box.test"
        self.postern = make_postern(start=False)
        self.home = self.postern.base / "walter"
        self.home.mkdir(0o700)
        os.chown(self.home, UID, GID)
        self.path = pathlib.Path("/var/mail") / self.name if path is None else self.home / path
        where = "" if path is None else f'"{path}"'
        self.postern.rules = (f'table users {{ "{self.name}" = "{UID}:{GID}:{self.home}" }}\n'
            f'action "in" mbox {where} userbase <users> {options}\n'
            'match from any for domain "box.test" action "in"\n')
        self.postern.start()

    def send(self, text="Subject: x\r\n\r\nhello\r\n", **arguments):
        self.postern.send(self.address, text, **arguments)

    def messages(self):
        box = mailbox.mbox(self.path, create=False)
        try:
            return list(box)
        finally:
            box.close()


@pytest.fixture
def home_box(make_postern):
    return Box(make_postern, "mail/in")


@pytest.fixture
def spool_box(make_postern):
    box = Box(make_postern)
    yield box
    box.path.unlink(missing_ok=True)


@pytest.mark.root
def test_a_users_file_in_var_mail_is_his_alone(spool_box):
    for number in range(5):
        spool_box.send(f"Subject: {number}\r\n\r\nFrom here\r\n>From there\r\n.\r\n")
    spool_box.postern.wait_queue_empty()
    status = spool_box.path.stat()
    assert (status.st_uid, status.st_mode & 0o7777) == (UID, 0o600)
    assert status.st_gid == grp.getgrnam("mail").gr_gid
    assert sorted(m["Subject"] for m in spool_box.messages()) == list("01234")
    assert spool_box.messages()[0].get_payload() == ">From here\n>From there\n.\n"
    assert not [name for name in os.listdir("/var/mail") if name.startswith(spool_box.path.name + ".")]
    (line,) = [line for line in spool_box.postern.log_lines("child-started", program="mda")]
    assert line["group"] == "mail"
    assert {line["file"] for line in spool_box.postern.log_lines("delivered")} == {
        str(spool_box.path)}


@pytest.mark.root
def test_the_group_is_given_for_nothing_else(make_postern):
    box = Box(make_postern, "mbox")
    box.send()
    box.postern.wait_queue_empty()
    assert box.path.stat().st_gid == GID
    assert "group" not in box.postern.log_lines("child-started", program="mda")[0]


def test_pythons_mailbox_and_mutt_read_it(home_box):
    home_box.send("Subject: one\r\n\r\nFrom a\r\nno line end")
    home_box.send("Subject: two\r\n\r\n", sender="")
    home_box.postern.wait_queue_empty()
    one, two = sorted(home_box.messages(), key=lambda message: message["Subject"])
    assert one.get_payload().startswith(">From a\nno line end")
    assert one["Return-Path"] == "<sender@client.test>" and one["Delivered-To"] == home_box.address
    assert two.get_from().startswith("MAILER-DAEMON ")
    if shutil.which("s-nail") is not None:
        headers = subprocess.run(["s-nail", "-H", "-f", home_box.path], capture_output=True,
            text=True, check=True, stdin=subprocess.DEVNULL).stdout
        assert len(headers.splitlines()) == 2 and "one" in headers and "two" in headers
    if shutil.which("mutt") is None:
        pytest.skip("mutt isn't installed")
    copy = home_box.postern.base / "copy"
    (home_box.postern.base / "Mail").mkdir()  # else mutt asks whether to make it
    main, terminal = pty.openpty()
    mutt = subprocess.Popen(["mutt", "-n", "-F", "/dev/null", "-R", "-f", str(home_box.path),
        "-e", "set confirmcreate=no confirmappend=no mbox_type=mbox quit=yes",
        "-e", f"push '<tag-pattern>~A<enter><tag-prefix><copy-message><kill-line>{copy}<enter><exit>'"],
        stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
        env=dict(os.environ, TERM="xterm", HOME=str(home_box.postern.base)))
    os.close(terminal)
    try:
        while mutt.poll() is None:
            try:
                os.read(main, 65536)
            except OSError:
                break
        mutt.wait(10)
    finally:
        mutt.kill()
        os.close(main)
    assert sorted(m["Subject"] for m in mailbox.mbox(copy)) == ["one", "two"]


def test_a_file_that_a_reader_has_locked_waits(home_box):
    home_box.send()
    home_box.postern.wait_queue_empty()
    reader = mailbox.mbox(home_box.path)
    reader.lock()
    home_box.send()
    (envelope,) = wait_for(lambda: [e for e in home_box.postern.queue() if "4.2.1" in e["error"]], 15)
    assert "locked" in envelope["error"]
    assert len(home_box.messages()) == 1
    reader.unlock()
    home_box.postern.smtpctl("schedule", "all")
    home_box.postern.wait_queue_empty()
    assert len(home_box.messages()) == 2


def take_all(path):
    """The subjects of what is there, which is removed."""
    box = mailbox.mbox(path)

    def locked():
        try:
            box.lock()
            return True
        except mailbox.ExternalClashError:
            return False
    wait_for(locked, what="the reader has its lock")
    taken = [message["Subject"] for message in box]
    box.clear()
    try:
        box.flush()
    except mailbox.ExternalClashError:
        pass  # the file is replaced: a delivery locked the new one first, and Python doesn't wait
    box.unlock()
    box.close()
    return taken


def test_who_adds_and_removes_meanwhile_loses_nothing(home_box):
    """A reader that removes what it has read, under its locks, while 60 messages come."""
    taken = []
    home_box.send("Subject: first\r\n\r\n")
    wait_for(home_box.path.exists)
    for number in range(59):
        home_box.send(f"Subject: {number}\r\n\r\nbody\r\n")
        if number % 5 == 0:
            with as_user():
                taken += take_all(home_box.path)
    home_box.postern.smtpctl("schedule", "all")
    home_box.postern.wait_queue_empty()
    taken += [message["Subject"] for message in home_box.messages()]
    assert len(taken) == 60 and len(set(taken)) == 60


def test_a_link_in_its_place_is_not_followed(home_box):
    (home_box.home / "mail").mkdir(0o700)
    os.chown(home_box.home / "mail", UID, GID)
    home_box.path.symlink_to("/etc/passwd")
    home_box.send()
    wait_for(lambda: [e for e in home_box.postern.queue() if "symbolic link" in e["error"]], 15)
    home_box.path.unlink()
    home_box.postern.smtpctl("schedule", "all")
    home_box.postern.wait_queue_empty()
    assert len(home_box.messages()) == 1


def test_mail_that_was_appended_before_a_crash_is_not_appended_again(home_box):
    """The queue dies before it has recorded the deliveries."""
    for _ in range(10):
        home_box.send()
    home_box.postern.crash()
    home_box.postern.start()
    home_box.postern.wait_queue_empty()
    assert len(home_box.messages()) == 10


def test_what_a_killed_process_left_is_cut_off_before_other_mail_comes(home_box):
    """More waits than goes to it at once: what is tried again comes before what is new."""
    postern = home_box.postern
    postern.smtpctl("pause", "mda")
    line = "x" * 998 + "\r\n"
    for number in range(40):
        home_box.send(f"Subject: {number}\r\n\r\n" + line * 300, sender=f"s{number % 3}@client.test")
    postern.smtpctl("resume", "mda")
    wait_for(lambda: home_box.path.exists() and home_box.path.stat().st_size > 1_000_000)
    postern.kill("mda")
    postern.wait_queue_empty()
    messages = home_box.messages()
    assert sorted(int(message["Subject"]) for message in messages) == list(range(40))
    assert {len(message.get_payload()) for message in messages} == {300 * 999}


def test_an_mda_whose_queue_died_appends_nothing_behind_the_next_ones_back(home_box):
    """It waits for the lock, which the next queue's mda has before it."""
    postern = home_box.postern
    home_box.send("Subject: first\r\n\r\n")
    postern.wait_queue_empty()
    with open(home_box.path, "rb+") as reader:
        fcntl.lockf(reader, fcntl.LOCK_EX)
        home_box.send("Subject: second\r\n\r\n")
        wait_for(lambda: [e for e in postern.queue() if e["state"] == "inflight"])
        old = postern.pids("mda")[0]
        os.kill(old, signal.SIGSTOP)
        postern.kill("queue")
        wait_for(lambda: [pid for pid in postern.pids("mda") if pid != old], what="the next mda")
    postern.wait_log("delivered", count=2)
    os.kill(old, signal.SIGCONT)
    wait_for(lambda: old not in postern.pids("mda"), what="the older mda's end")
    assert [message["Subject"] for message in home_box.messages()] == ["first", "second"]


def test_users_of_the_accounts_database_have_theirs_in_their_directory(make_postern):
    postern = make_postern(
        rules='action "in" mbox\nmatch from any for domain <accounts> action "in"\n')
    postern.send("team@example.test")
    postern.wait_queue_empty()
    for user in ("alice", "bob"):
        (message,) = mailbox.mbox(postern.maildir(f"{user}@example.test") / "mbox")
        assert message["Delivered-To"] == f"{user}@example.test"


def test_mail_that_a_quota_has_no_room_for_waits(make_postern):
    postern = make_postern(
        rules='action "in" mbox\nmatch from any for domain <accounts> action "in"\n')
    postern.smtpctl("user", "quota", "alice@example.test", "4000")
    path = postern.maildir("alice@example.test") / "mbox"
    for number in range(3):
        postern.send("alice@example.test", f"Subject: {number}\r\n\r\n" + ("x" * 70 + "\r\n") * 20)
    wait_for(lambda: [e for e in postern.queue() if "452 4.2.2" in e["error"]])
    postern.send("alice@example.test", "Subject: 3\r\n\r\n" + ("x" * 70 + "\r\n") * 200)
    postern.wait_log("delivery-failed", reply=re.compile("552 5.2.3"))
    assert [message["Subject"] for message in mailbox.mbox(path)] == ["0", "1"]
    before = path.read_bytes()
    postern.smtpctl("schedule", "all")
    wait_for(lambda: [e for e in postern.queue() if "alice" in e["dest"] and e["tries"] == 2])
    assert path.read_bytes() == before
    path.write_bytes(b"")
    postern.smtpctl("schedule", "all")
    postern.wait_queue_empty()
    assert [message["Subject"] for message in mailbox.mbox(path)] == ["2"]


@pytest.mark.root
def test_a_user_of_the_system_with_a_forward_keeps_a_copy_in_var_mail(make_postern):
    postern = make_postern(rules='action "box" mbox\naction "out" relay host smtp+notls://127.0.0.1:1\n'
        'action "forward" forward-only\nmatch from any for domain "box.test" action "box"\n'
        'match from any for domain "forward.test" action "forward"\n'
        'match from local for domain "far.test" action "out"\n')
    users = Users(postern.base)
    try:
        one, two = users.add("a"), users.add("b")
        users.write(one, f"\\{one}, x@far.test\n")
        for number in range(3):
            postern.send(f"{one}@box.test", f"Subject: {number}\r\n\r\n")
        box = pathlib.Path("/var/mail") / one
        wait_for(lambda: box.exists() and len(mailbox.mbox(box)) == 3)
        assert len([e for e in postern.queue() if e["dest"] == "x@far.test"]) == 3
        with postern.smtp() as client:
            client.ehlo()
            client.mail("sender@client.test")
            assert client.rcpt(f"{one}@forward.test")[0] == 250
            assert client.rcpt(f"{two}@forward.test")[0] == 550
        # While it can't be used, nothing is delivered.
        (users.home(one) / ".forward").chmod(0o666)
        with postern.smtp() as client:
            client.ehlo()
            client.mail("sender@client.test")
            assert client.rcpt(f"{one}@box.test")[0] == 451
        assert len(mailbox.mbox(box)) == 3
        postern.stop()
    finally:
        for name in users.made.values():
            pathlib.Path("/var/mail", name).unlink(missing_ok=True)
        users.clear()


@pytest.mark.root
def test_a_home_that_only_a_group_can_reach_has_a_forward_all_the_same(make_postern):
    """The process with the group mail has its user's own groups as well."""
    postern = make_postern(rules='action "box" mbox\nmatch from any for domain "box.test" action "box"\n')
    (postern.base / "homes").mkdir()
    users = Users(postern.base / "homes")
    box = None
    try:
        name = users.add("a")
        box = pathlib.Path("/var/mail", name)
        group = grp.getgrnam(users.group("g", name))
        os.chown(users.base, 0, group.gr_gid)
        users.base.chmod(0o710)
        users.write(name, f"\\{name}, {users.home(name)}/copy\n")
        postern.send(f"{name}@box.test")
        postern.wait_queue_empty()
        assert len(mailbox.mbox(box)) == len(mailbox.mbox(users.home(name) / "copy")) == 1
        postern.stop()
    finally:
        if box is not None:
            box.unlink(missing_ok=True)
        users.clear()


@pytest.mark.root
def test_the_group_is_in_the_way_of_no_forward(make_postern):
    """Commands run without it; one that couldn't be used when the mail came is followed, or gone, later."""
    postern = make_postern(start=False)
    aliases = postern.base / "aliases"
    postern.rules = (f'table aliases file:{aliases}\naction "box" mbox alias <aliases>\n'
        'match from any for domain "box.test" action "box"\n')
    users = Users(postern.base)
    boxes = pathlib.Path("/var/mail")
    try:
        one, two, three = (users.add(short) for short in "abc")
        aliases.write_text(f"all: {one}, {two}, {three}\n")
        aliases.chmod(0o644)
        for name in (one, two):
            users.write(name, f"{users.home(name)}/file", mode=0o666)
        users.write(three, f"\\{three}, \"|id -Gn >$HOME/groups\"\n")
        postern.start()
        postern.send("all@box.test")
        groups = users.home(three) / "groups"
        wait_for(lambda: (boxes / three).exists() and groups.exists() and groups.read_text())
        assert "mail" not in groups.read_text().split()
        wait_for(lambda: len([e for e in postern.queue() if "can be written by others" in e["error"]]) == 2)
        (users.home(one) / ".forward").chmod(0o644)
        (users.home(two) / ".forward").unlink()
        postern.smtpctl("schedule", "all")
        postern.wait_queue_empty()
        assert len(mailbox.mbox(users.home(one) / "file")) == len(mailbox.mbox(boxes / two)) == 1
        assert not (boxes / one).exists()
        postern.stop()
    finally:
        for name in users.made.values():
            (boxes / name).unlink(missing_ok=True)
        users.clear()
