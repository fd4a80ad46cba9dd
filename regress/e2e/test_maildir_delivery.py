"""Delivery to Maildirs: names, quotas, what must not be followed, and what happens when a
mailbox can't be written and is put right."""

import os
import pwd
import re
import shutil
import stat
import subprocess

import pytest

from faults import faults, faults_library  # noqa: F401
from postern import wait_for

NAME = re.compile(r"(\d+)\.M(\d{6})P([0-9a-f]{16})\.mx\.example\.test,S=(\d+),W=(\d+)$")
BODY = "Subject: x\r\n\r\n" + "a line of text\r\n" * 20


def owner(postern, path):
    """Gives the path to the mailboxes' owner."""
    if os.geteuid() == 0:
        entry = pwd.getpwnam("_vmail")
        os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)
    return path


def wait_deferred(postern, text, to="alice@example.test"):
    """Waits until the mail to `to` was tried and is queued with this reason."""
    def deferred():
        return [envelope for envelope in postern.queue()
            if envelope["dest"] == to and text in envelope["error"]]
    return wait_for(deferred, 15, f"a delivery to {to} deferred with {text!r}")


def retry(postern):
    postern.smtpctl("schedule", "all")


def make_mailbox(postern, address="alice@example.test"):
    """The Maildir of `address`, as a first delivery makes it; emptied."""
    postern.send(address)
    for mail in postern.wait_mail(address):
        mail.path.unlink()
    postern.wait_queue_empty()
    return postern.maildir(address)


def test_names_tell_time_envelope_and_true_sizes(postern):
    message = postern.send("alice@example.test", BODY)
    (mail,) = postern.wait_mail("alice@example.test")
    match = NAME.match(mail.name)
    assert match, mail.name
    assert match.group(3).startswith(message)
    assert int(match.group(4)) == len(mail.data)
    assert int(match.group(5)) == len(mail.data) + mail.data.count(b"\n")
    assert b"\r" not in mail.data
    assert mail.data.startswith(
        b"Return-Path: <sender@client.test>\nDelivered-To: alice@example.test\n")


def test_a_forged_return_path_comes_after_ours(postern):
    postern.send("alice@example.test",
        "Return-Path: <forged@evil.test>\r\nDelivered-To: other@example.test\r\n" + BODY)
    (mail,) = postern.wait_mail("alice@example.test")
    assert mail.message.get_all("Return-Path")[0] == "<sender@client.test>"
    assert mail.message.get_all("Delivered-To")[0] == "alice@example.test"


def test_what_waits_together_is_delivered_in_few_batches(make_postern, faults):
    postern = make_postern(environment=faults.environment)
    make_mailbox(postern)
    postern.smtpctl("pause", "mda")
    for _ in range(60):
        postern.send("alice@example.test")
    with faults.count("mda") as syncs:
        postern.smtpctl("resume", "mda")
        postern.wait_mail("alice@example.test", 60)
        postern.wait_queue_empty()
        kind = subprocess.run(["stat", "-f", "-c", "%T", postern.mail], check=True, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE).stdout.strip()
        # There files are synced one by one, and their directories come to that.
        most = 60 + 2 * 4 if kind == "tmpfs" else 60
        assert 0 < syncs() <= most, "more syncs than messages"


def breakages():
    def symlink(path, target):
        shutil.rmtree(path)
        path.symlink_to(target)

    def fifo(path):
        shutil.rmtree(path)
        os.mkfifo(path, 0o600)

    def file(path):
        shutil.rmtree(path)
        path.write_text("")

    return {
        "the Maildir is a symlink": ("", symlink, "symbolic link"),
        "new is a symlink": ("new", symlink, "symbolic link"),
        "tmp is a symlink": ("tmp", symlink, "symbolic link"),
        "the Maildir is a FIFO": ("", lambda path, _: fifo(path), "Not a directory"),
        "new is a FIFO": ("new", lambda path, _: fifo(path), "Not a directory"),
        "tmp is a file": ("tmp", lambda path, _: file(path), "Not a directory"),
    }


@pytest.mark.parametrize("case", breakages())
def test_what_is_no_directory_is_not_written_to_and_can_be_put_right(postern, case):
    part, breaks, words = breakages()[case]
    box = make_mailbox(postern)
    elsewhere = postern.mail / "elsewhere"
    for directory in (elsewhere, *(elsewhere / name for name in ("tmp", "new", "cur"))):
        directory.mkdir()
        owner(postern, directory)
    breaks(box / part if part else box, elsewhere / part if part else elsewhere)
    postern.send("alice@example.test", BODY)
    # Another's mail isn't held up.
    postern.send("bob@example.test")
    postern.wait_mail("bob@example.test")
    wait_deferred(postern, words)
    assert not [path for path in elsewhere.rglob("*") if path.is_file()]
    (box / part if part else box).unlink()
    retry(postern)
    (mail,) = postern.wait_mail("alice@example.test")
    assert mail.body == BODY.partition("\r\n\r\n")[2].replace("\r\n", "\n").encode()
    postern.wait_queue_empty()


@pytest.mark.root
def test_anothers_maildir_is_left_alone(postern):
    box = make_mailbox(postern)
    os.chown(box / "new", 0, 0)
    (box / "new").chmod(0o777)
    postern.send("alice@example.test")
    wait_deferred(postern, "belongs to uid 0")
    assert not list((box / "new").iterdir())
    (box / "new").chmod(0o700)
    owner(postern, box / "new")
    retry(postern)
    postern.wait_mail("alice@example.test")


USERBASE = """
table users {{ "dave@example.test" = "dave" }}
table base {{ "dave" = "{uid}:{gid}:{home}" }}
action "in" maildir virtual <users> userbase <base>
match from any for domain "example.test" action "in"
"""


@pytest.fixture
def home_postern(make_postern):
    """An instance with one user, dave, whose home is BASE/dave."""
    if os.geteuid() == 0:
        entry = pwd.getpwnam("_vmail")
        uid, gid = entry.pw_uid, entry.pw_gid
    else:
        uid, gid = os.geteuid(), os.getegid()
    postern = make_postern(accounts=False,
        rules=lambda self: USERBASE.format(uid=uid, gid=gid, home=self.base / "dave"))
    postern.home = postern.base / "dave"
    return postern


def test_a_missing_home_is_waited_for(home_postern):
    postern = home_postern
    postern.send("dave@example.test")
    wait_deferred(postern, "is missing", "dave@example.test")
    assert not postern.home.exists()
    postern.home.mkdir(mode=0o700)
    owner(postern, postern.home)
    retry(postern)
    postern.wait_mail(postern.home / "Maildir")
    assert stat.S_IMODE((postern.home / "Maildir").stat().st_mode) == 0o700


def test_a_home_that_anybody_can_write_is_not_used(home_postern):
    postern = home_postern
    postern.home.mkdir()
    postern.home.chmod(0o777)
    owner(postern, postern.home)
    postern.send("dave@example.test")
    wait_deferred(postern, "written by others", "dave@example.test")
    assert not list(postern.home.iterdir())
    postern.home.chmod(0o755)
    retry(postern)
    postern.wait_mail(postern.home / "Maildir")


def test_a_quota_is_kept_and_told(postern):
    postern.smtpctl("user", "quota", "alice@example.test", "3000")
    for _ in range(3):
        postern.send("alice@example.test", BODY)
    # Three of some 700 bytes fit, and then no fourth of 2,500.
    postern.wait_mail("alice@example.test", 3)

    def is_refused():
        with postern.smtp() as client:
            client.ehlo()
            client.mail("sender@client.test", ["SIZE=2500"])
            code, text = client.rcpt("alice@example.test")
            assert code == 250 or (code == 452 and b"4.2.2" in text), (code, text)
            return code == 452
    # What was known before the three is believed for some seconds.
    wait_for(is_refused, 20, "452 at RCPT for what doesn't fit")
    text = (postern.maildir("alice@example.test") / "maildirsize").read_text()
    assert text.startswith("3000S\n")
    total = sum(int(line.split()[0]) for line in text.splitlines()[1:])
    assert total == sum(len(mail.data) for mail in postern.mails("alice@example.test"))


def test_a_full_mailbox_takes_its_mail_when_there_is_room_again(postern):
    box = make_mailbox(postern)
    postern.smtpctl("user", "quota", "alice@example.test", "1500")
    filler = box / "cur" / "1.M1P1.host,S=1400:2,S"
    filler.write_text("x" * 1400)
    owner(postern, filler)
    postern.smtpctl("pause", "mda")
    # Accepted before anybody knows how full it is, or refused: the queue decides at delivery.
    with postern.smtp() as client:
        client.ehlo()
        client.mail("sender@client.test")
        code, _ = client.rcpt("alice@example.test")
        if code == 250:
            assert client.data(BODY)[0] == 250
    postern.smtpctl("resume", "mda")
    if code == 250:
        wait_deferred(postern, "is full")
    filler.unlink()
    (box / "maildirsize").unlink(missing_ok=True)
    postern.smtpctl("user", "quota", "alice@example.test", "1501")
    if code == 250:
        retry(postern)
    else:
        wait_for(lambda: accepted(postern), 20, "it is taken again")
    postern.wait_mail("alice@example.test")
    postern.wait_queue_empty()


def accepted(postern):
    with postern.smtp() as client:
        client.ehlo()
        client.mail("sender@client.test")
        return client.rcpt("alice@example.test")[0] == 250 and client.data(BODY)[0] == 250
