"""Mail that goes round is found where it comes by again and ends in one report; and nothing is answered by
itself to what nobody wrote."""

import pytest

from postern import free_port
from smtp_peer import Peer

pytestmark = pytest.mark.root

TEXT = "From: joe@sender.test\r\nSubject: x\r\n{}\r\nhello\r\n"


@pytest.fixture
def sender():
    """Where joe@sender.test has his mail; and far.test, as sender.far."""
    with Peer(port=None, name="mx.sender.test") as peer, Peer(port=None) as peer.far:
        yield peer


def rules(sender, others=""):
    return f"""
action "in" maildir virtual <accounts>
action "out" relay domain {{ "sender.test" = "smtp+notls://{sender.address}:{sender.port}",
    "far.test" = "smtp+notls://{sender.far.address}:{sender.far.port}" {others} }} srs
match from any for domain <accounts> action "in"
match for any action "out"
"""


def make(make_postern, sender, extra=""):
    return make_postern(rules=rules(sender), extra="srs key \"a secret\"\n"
        "queue retry-first 1s\nqueue retry-max 1s\n" + extra)


def test_a_loop_between_two_servers_ends_in_one_report(make_postern, sender):
    """ann@one.test is forwarded to ann@two.test, and that back."""
    ports = free_port(), free_port()
    suites = []
    for domain, other, port, there in (("one.test", "two.test", *ports),
            ("two.test", "one.test", *reversed(ports))):
        suite = make_postern(start=False, listen=f"listen on 127.0.0.1 port {port}",
            rules=rules(sender, f', "{other}" = "smtp+notls://127.0.0.1:{there}"'),
            extra=f'srs key "the secret of {domain}"\nqueue retry-first 1s\nqueue retry-max 1s\n')
        suite.port = port
        suite.start()
        suite.add_domain(domain)
        suites.append(suite)
    one, two = suites
    one.add_alias("ann@one.test", "ann@two.test")
    two.add_alias("ann@two.test", "ann@one.test")
    one.send("ann@one.test", TEXT.format(""), sender="joe@sender.test")
    (report,) = sender.wait_messages(1)
    assert report.recipients == ["joe@sender.test"] and report.sender == ""
    assert b"5.4.6" in report.data and b"mail loop" in report.data
    for suite in suites:
        suite.wait_queue_empty()
    assert len(sender.messages) == 1


@pytest.mark.parametrize("field", ["alice@example.test", "<ALICE@example.test>", "\r\n alice@example.test"])
def test_what_was_here_is_refused(make_postern, sender, field):
    """At the end of its text, when it has no other place to go to; nobody is written to."""
    postern = make(make_postern, sender)
    postern.add_alias("away@example.test", "carol@far.test")
    for address, name in (("alice@example.test", field), ("away@example.test", "away@example.test")):
        with postern.smtp() as client:
            client.ehlo()
            client.mail("joe@sender.test")
            assert client.rcpt(address)[0] == 250
            code, words = client.data(TEXT.format(f"Delivered-To: {name}\r\n").encode())
            assert code == 554 and b"5.4.6" in words
    postern.wait_queue_empty()
    assert not sender.messages and not postern.mails("alice@example.test")


def test_of_several_recipients_the_others_get_it(make_postern, sender):
    """The one that it was with before is told of in a report, also of one that is forwarded."""
    postern = make(make_postern, sender)
    postern.add_alias("away@example.test", "carol@far.test")
    postern.send(["alice@example.test", "bob@example.test", "away@example.test"],
        TEXT.format("Delivered-To: alice@example.test\r\nDelivered-To: away@example.test\r\n"
            "Delivered-To: bob\r\nDelivered-To: bob@other.test\r\n"), sender="joe@sender.test")
    postern.wait_mail("bob@example.test")
    messages = sender.wait_messages(1)
    assert messages[0].recipients == ["joe@sender.test"]
    for words in (b"delivered to alice@example.test before", b"forwarded from away@example.test before"):
        assert words in messages[0].data
    assert not postern.mails("alice@example.test")


def test_a_users_own_mail_comes_back_by_a_report(make_postern, sender):
    """A mail that alice sends to herself once more, as it is."""
    postern = make(make_postern, sender, extra=f"listen on socket \"@BASE@/submit\"\n")
    with postern.wire(path=str(postern.base / "submit")) as wire:
        wire.hello()
        wire.command("MAIL FROM:<alice@example.test>", 250)
        wire.command("RCPT TO:<alice@example.test>", 250)
        wire.command("DATA", 354)
        wire.send(TEXT.format("Delivered-To: alice@example.test\r\n") + ".\r\n")
        wire.expect(250)
    (report,) = postern.wait_mail("alice@example.test")
    assert b"delivered to alice@example.test before" in report.data


# HOSTILE 27a

AUTOMATIC = ["Auto-Submitted: auto-replied\r\n", "Auto-Submitted: auto-generated; x=y\r\n",
    "List-Id: <a.lists.test>\r\n", "Precedence: bulk\r\n", "Precedence: list\r\n"]


def test_no_warning_of_a_delay_goes_to_a_list_or_program(make_postern, sender):
    """But to a person, and to who asks for it."""
    postern = make(make_postern, sender, "bounce warn-interval 1s\n")
    sender.far.always("RCPT", "450 4.2.1 later")
    for number, field in enumerate(AUTOMATIC):
        postern.send("x@far.test", TEXT.format(field), sender=f"auto{number}@sender.test")
    postern.send("x@far.test", TEXT.format("Auto-Submitted: no\r\n"), sender="joe@sender.test")
    with postern.smtp() as client:
        client.ehlo()
        client.mail("asks@sender.test")
        client.rcpt("x@far.test", ["NOTIFY=DELAY,FAILURE"])
        client.data(TEXT.format(AUTOMATIC[2]).encode())
    reports = sender.wait_messages(2)
    assert sorted(report.recipients for report in reports) == [["asks@sender.test"], ["joe@sender.test"]]
    # All were due at the same time, or before.
    assert len(postern.queue()) == len(AUTOMATIC) + 2
    assert len(sender.messages) == 2


def test_what_fails_is_told_once_and_without_a_sender(make_postern, sender):
    """A list's server takes its addresses off the list by that. A report can't be answered in turn."""
    postern = make(make_postern, sender)
    sender.far.always("RCPT", "550 5.1.1 nobody")
    for field in AUTOMATIC:
        postern.send("x@far.test", TEXT.format(field), sender="list@sender.test")
    reports = sender.wait_messages(len(AUTOMATIC))
    for report in reports:
        assert report.sender == "" and report.recipients == ["list@sender.test"]
        assert b"\nAuto-Submitted: auto-replied\r\n" in report.data


def test_a_report_that_fails_answers_nobody(make_postern, sender):
    """From <> to an alias that leads to where it is refused: the postmaster is told, once."""
    postern = make(make_postern, sender, "postmaster alice@example.test\n")
    postern.add_alias("away@example.test", "carol@far.test")
    sender.far.always("RCPT", "550 5.1.1 nobody")
    postern.send("away@example.test", TEXT.format(AUTOMATIC[0]), sender="")
    (mail,) = postern.wait_mail("alice@example.test")
    assert b"carol@far.test" in mail.data
    postern.wait_queue_empty()
    assert not sender.messages and len(postern.mails("alice@example.test")) == 1
