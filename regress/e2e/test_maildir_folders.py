"""Folders that mail goes to by itself: the detail of an address, and what is marked as spam; seen by
IMAP."""

import imaplib

import pytest

import postern as harness

PASSWORD = "correct horse battery"


@pytest.fixture
def sorted_mail(make_postern):
    port = harness.free_port()
    postern = make_postern(extra=f"listen on 127.0.0.1 port {port} imap auth-cleartext",
        rules='action "in" maildir junk\nmatch from any for domain <accounts> action "in"\n')
    postern.imap = imaplib.IMAP4("127.0.0.1", port)
    postern.imap.login("alice@example.test", PASSWORD)
    yield postern
    postern.imap.logout()


def count(imap, folder):
    status, (number,) = imap.select(folder, readonly=True)
    assert status == "OK", number
    return int(number)


def test_a_detail_goes_to_the_folder_that_its_owner_made(sorted_mail):
    imap = sorted_mail.imap
    assert imap.create("lists")[0] == "OK" and imap.create("lists.cron")[0] == "OK"
    for detail in ("lists", "lists.cron", "unknown", "Trash"):
        sorted_mail.send(f"alice+{detail}@example.test")
    sorted_mail.wait_queue_empty()
    assert count(imap, "lists") == 1 and count(imap, "lists.cron") == 1
    assert count(imap, "INBOX") == 2


def test_marked_mail_goes_to_junk_which_is_made_and_subscribed(sorted_mail):
    imap = sorted_mail.imap
    sorted_mail.send("alice@example.test", "X-Spam-Flag: YES\r\nSubject: a\r\n\r\nbuy\r\n")
    sorted_mail.send("alice+x@example.test", "Subject: b\r\nX-Spam: Yes\r\n\r\nbuy\r\n")
    sorted_mail.send("alice@example.test", "Subject: c\r\n\r\nX-Spam: Yes\r\n")
    sorted_mail.wait_queue_empty()
    assert count(imap, "Junk") == 2 and count(imap, "INBOX") == 1
    assert [line for line in imap.lsub()[1] if b"Junk" in line]
    (message,) = imap.select("Junk")[1] and imap.search(None, "SUBJECT", "a")[1]
    assert message
