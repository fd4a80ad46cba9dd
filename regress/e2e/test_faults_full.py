"""Full disks, real ext4 and XFS, below each kind of local delivery, below what mail is forwarded from, and
below sendmail's own store: mail waits or is refused for now, nothing stays half done, and once there is
room each message comes to its place once."""

import mailbox
import os
import re

import pytest

from disks import image  # noqa: F401
from postern import wait_for
from smtp_peer import Peer
from system_users import Users
from test_sendmail import NAMED, NOBODY, offline, sendmail
from test_sieve import folder, set_script

pytestmark = pytest.mark.root

SMALL = "x" * 70 + "\r\n"
LARGE = ("y" * 998 + "\r\n") * 300


@pytest.fixture(params=["ext4", "xfs"])
def disk(image, request):  # noqa: F811
    return image(request.param, 64 << 20)


def text(subject, body=SMALL, more=""):
    return f"Subject: {subject}\r\n{more}\r\n{body}"


def subjects(messages):
    return sorted(message["Subject"] for message in messages)


def wait_deferred(postern, *destinations, words="No space left"):
    """Each of them waits for want of space."""
    def deferred():
        found = {e["dest"] for e in postern.queue() if words in e["error"]}
        return found >= set(destinations)
    try:
        wait_for(deferred, 30, destinations)
    except AssertionError as why:
        raise AssertionError(f"{why}\n{postern.queue()}\n{postern.log_tail()}") from None


def go_on(postern):
    postern.smtpctl("schedule", "all")
    postern.wait_queue_empty(30)


# Homes.

HOMES = """
table aliases {{ box = "{box}", file = "{file}", dir = "{dir}", run = "{run}", cat = "{cat}", away = "{away}" }}
action "box" mbox "mail/in" alias <aliases>
action "dir" maildir alias <aliases>
action "run" mda "@BASE@/take 73" alias <aliases>
action "cat" mda "@BASE@/take 74" alias <aliases>
match from any for rcpt-to "box@example.test" action "box"
match from any for rcpt-to "run@example.test" action "run"
match from any for rcpt-to "cat@example.test" action "cat"
match from any for domain "example.test" action "dir"
"""
# EX_CANTCREAT and EX_IOERR are what programs of this kind end with.
TAKE = """#!/bin/sh
cat >new.$$ || { rm -f new.$$; exit $1; }
mv new.$$ taken.$$
"""


@pytest.fixture
def homes(make_postern, disk):
    """Users of the system with their homes on the disk, and one whose home is elsewhere."""
    postern = make_postern(start=False)
    on_disk, elsewhere = disk.path / "homes", postern.base / "homes"
    users = Users(on_disk)
    for place in (on_disk, elsewhere):
        place.mkdir(mode=0o755)
    try:
        names = {kind: users.add(kind) for kind in ("box", "file", "dir", "run", "cat")}
        users.write(names["file"], str(users.home(names["file"]) / "saved"))
        users.base = elsewhere
        names["away"] = users.add("away")
        (postern.base / "take").write_text(TAKE)
        (postern.base / "take").chmod(0o755)
        postern.rules = HOMES.format(**names)
        postern.users, postern.names = users, names
        postern.start()
        yield postern
        postern.stop()
    finally:
        users.clear()


def test_a_home_that_is_full_puts_off_its_users_mail_and_nobody_elses(homes, disk):
    kinds = ("box", "file", "dir", "run", "cat")
    home = {kind: homes.users.home(name) for kind, name in homes.names.items()}
    homes.send([f"{kind}@example.test" for kind in kinds], text("first"))
    homes.wait_queue_empty()
    boxes = home["box"] / "mail/in", home["file"] / "saved"
    before = [box.read_bytes() for box in boxes]
    disk.fill()
    numbers = ["first"]
    for number, body in (("2", LARGE), ("3", SMALL), ("4", LARGE)):
        numbers.append(number)
        homes.send([f"{kind}@example.test" for kind in (*kinds, "away")], text(number, body))
    homes.wait_mail(home["away"] / "Maildir", 3)
    for kind, words in (("box", "4.3.1"), ("file", "4.3.1"), ("dir", "4.3.1"), ("run", "exit status 73"),
            ("cat", "exit status 74")):
        # One that still fits where others don't may be there.
        wait_deferred(homes, homes.names[kind] + "@example.test", words=words)
    for box, first in zip(boxes, before):
        assert box.read_bytes().startswith(first)
        assert all(len(message.get_payload()) in (len(SMALL) - 1, 300 * 999)
            for message in mailbox.mbox(box, create=False))
    assert os.listdir(home["box"] / "mail") == ["in"]
    assert not list((home["dir"] / "Maildir/tmp").iterdir())
    assert not list(home["run"].glob("new.*"))
    disk.empty()
    go_on(homes)
    for box in boxes:
        assert subjects(mailbox.mbox(box, create=False)) == sorted(numbers)
    assert subjects(m.message for m in homes.mails(home["dir"] / "Maildir")) == sorted(numbers)
    for kind in ("run", "cat"):
        taken = [path.read_text() for path in home[kind].glob("taken.*")]
        assert sorted(re.search(r"^Subject: (.*)$", one, re.MULTILINE)[1] for one in taken) == \
            sorted(numbers)
        assert all(one.partition("\n\n")[2] in (body.replace("\r\n", "\n") for body in (SMALL, LARGE))
            for one in taken)
    assert not homes.log_lines("delivery-failed")


# Scripts.

def test_scripts_on_a_full_disk_do_nothing_by_halves(make_postern, disk):
    with Peer(port=None) as peer:
        postern = make_postern(mail=disk.path / "mail", rules=f"""
action "in" maildir virtual <accounts>
action "out" relay host "smtp+notls://{peer.address}:{peer.port}"
match from any for domain <accounts> action "in"
match from local for any action "out"
""")
        set_script(postern, "alice@example.test", """require ["fileinto", "mailbox", "vacation", "duplicate"];
if duplicate { discard; stop; }
fileinto :create "Lists";
redirect "copy@far.test";
vacation "Away.";""")
        set_script(postern, "bob@example.test", 'require "vacation"; vacation "Away."; discard;')
        disk.fill()
        for number in range(3):
            postern.send("alice@example.test", text(number, LARGE, "To: alice@example.test\r\n"
                f"Message-ID: <{number}@x.test>\r\n"), sender="ann@far.test")
            postern.send("bob@example.test", text(number, more="To: bob@example.test\r\n"),
                sender="bill@far.test")
        wait_deferred(postern, "alice@example.test")
        wait_for(lambda: not [e for e in postern.queue() if e["dest"] == "bob@example.test"],
            what="what isn't stored needs no room")
        assert not peer.messages, "nobody is answered who can't be remembered"
        root = postern.maildir("alice@example.test")
        assert not list(root.glob("**/tmp/*")) and not list(root.glob("sieve/*.new"))
        disk.empty()
        go_on(postern)
        assert sorted(m.message["Subject"] for m in folder(postern, "alice@example.test", ".Lists")) == \
            list("012")
        # The last of the three may have been let in while others were put off, never twice.
        assert sorted(m.recipients[0] for m in peer.wait_messages(4)) == \
            ["ann@far.test"] + ["copy@far.test"] * 3
        for to in ("alice@example.test", "bob@example.test"):
            postern.send(to, text("again", more=f"To: {to}\r\nMessage-ID: <0@x.test>\r\n"),
                sender="bill@far.test")
        postern.wait_queue_empty()
        assert peer.wait_messages(5)[4].recipients == ["bill@far.test"]
        assert len(folder(postern, "alice@example.test", ".Lists")) == 3


# What mail is forwarded from.

def token_of(data):
    return re.search(rb"^Subject: (\S+)\r?$", data, re.MULTILINE)[1].decode()


def test_forwards_from_a_full_spool_are_whole_or_refused(make_postern, disk):
    """An alias that leads to a mailbox, another host, an LMTP server and a user whose .forward leads on to
    the other host; and a mailbox whose script redirects there."""
    with Peer(port=None) as far, Peer(port=None, lmtp=True) as near:
        postern = make_postern(start=False, spool=disk.path / "spool", rules=f"""
table lists {{ all = "keep@users.test, one@near.test, two@far.test, NAME@local.test" }}
action "in" maildir virtual <accounts>
action "lists" expand-only alias <lists>
action "local" maildir
action "near" lmtp "{near.address}:{near.port}" userbase {{ one = 2000:2000:/home }}
action "out" relay host "smtp+notls://{far.address}:{far.port}" srs
match from any for domain "lists.test" action "lists"
match from any for domain "local.test" action "local"
match for domain "near.test" action "near"
match from any for domain <accounts> action "in"
match for any action "out"
""", extra='srs key "secret"\nqueue retry-first 1s\nqueue retry-max 2s\n'
            "queue segment-size 4M\nqueue free-space 0%\n")
        users = Users(postern.base)
        try:
            name = users.add("f")
            users.write(name, "three@far.test\n")
            postern.rules = postern.rules.replace("NAME", name)
            postern.start()
            postern.add_domain("users.test")
            for address in ("keep@users.test", "send@users.test"):
                postern.add_user(address)
            set_script(postern, "send@users.test", 'require "copy"; redirect :copy "four@far.test";')
            taken, refused = [], []
            postern.smtpctl("pause", "mda")
            for number in range(60):
                token = f"n{number}"
                if number == 10:
                    disk.fill()
                    postern.smtpctl("resume", "mda")
                with postern.smtp() as client:
                    client.ehlo()
                    code, words = client.mail("joe@sender.test")
                    for to in ("all@lists.test", "send@users.test"):
                        if code == 250:
                            code, words = client.rcpt(to)
                    if code == 250:
                        # With a file of its own, and without.
                        code, words = client.data(text(token, (LARGE, SMALL * 2000)[number % 2]).encode())
                    assert code == 250 or 400 <= code <= 499, (code, words)
                (taken if code == 250 else refused).append(token)
            assert len(taken) >= 10 and refused, (taken, refused)
            disk.empty()
            wait_for(lambda: (postern.smtpctl("schedule", "all", check=False).returncode == 0 and
                not postern.queue()), 30, "all is sent")
            for box in ("keep@users.test", "send@users.test"):
                assert sorted(token_of(m.data) for m in postern.mails(box)) == sorted(taken)
            for peer, to in ((near, "one"), (far, "two@far.test"), (far, "three@far.test"),
                    (far, "four@far.test")):
                got = [m for m in peer.messages if to in m.recipients]
                # What can't be recorded as sent may be sent again.
                assert {token_of(m.data) for m in got} == set(taken)
                assert all(m.data.endswith((LARGE.encode(), (SMALL * 2000).encode())) for m in got)
                assert all(m.sender.startswith("SRS0=" if peer is far else "joe@") for m in got)
            postern.stop()
        finally:
            users.clear()


# sendmail.

def test_sendmail_says_so_when_its_mail_can_not_be_kept(make_postern, disk):
    server = make_postern(spool=disk.path / "spool", extra=NAMED)
    server.stop()
    sendmail(server, "alice", text=b"Subject: first\n\nhello\n", user=NOBODY)
    disk.fill()
    for user in (NOBODY, None):
        said = sendmail(server, "alice", text=b"Subject: second\n\n" + b"x\n" * 100000, user=user,
            status=os.EX_TEMPFAIL)
        assert "can't be kept" in said and "No space left" in said
    assert len(list(offline(server).iterdir())) == 1, "no part of it is left"
    disk.empty()
    sendmail(server, "alice", text=b"Subject: third\n\nhello\n", user=NOBODY)
    server.start()
    wait_for(lambda: not list(offline(server).iterdir()), 20, "all is sent")
    server.wait_queue_empty()
    assert subjects(m.message for m in server.mails("alice@example.test")) == ["first", "third"]
