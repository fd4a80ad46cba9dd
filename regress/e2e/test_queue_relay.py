"""The queue's side of mail to other hosts: destinations that can't be reached hold up nobody else,
reports go out as mail does, and a relay that dies loses nothing. The hosts are address literals, so
that no DNS is asked."""

import json
import re

import pytest

from postern import wait_for
from smtp_peer import Peer, silent_port, loopback_address

pytestmark = pytest.mark.root  # port 25

RULES = """
action "in" maildir virtual <accounts>
action "out" relay
match from any for domain <accounts> action "in"
match from any for any action "out"
"""


@pytest.fixture
def relay(make_postern):
    def make(extra="", retry="10m"):
        return make_postern(rules=RULES, extra=f"queue retry-first {retry}\n" + extra)
    return make


def send(postern, *recipients, sender="alice@example.test", count=1, options=()):
    with postern.smtp() as client:
        for number in range(count):
            client.sendmail(sender, recipients,
                f"From: {sender}\r\nSubject: {number}\r\n\r\nhello {number}\r\n".encode(),
                rcpt_options=options)


def relays(postern, *arguments):
    """smtpctl show relays, by destination."""
    lines = postern.smtpctl("-j", "show", "relays", *arguments).stdout.splitlines()
    return {line["to"]: line for line in map(json.loads, lines)}


def test_a_dead_destination_holds_up_no_other(relay):
    """A flood to two destinations, one of which takes no mail."""
    with Peer() as live, Peer() as dead:
        dead.always("GREETING", "421 4.3.2 not now")
        postern = relay()
        alive, down = f"[{live.address}]", f"[{dead.address}]"
        for _ in range(10):
            send(postern, f"x@{down}", count=20)
            send(postern, f"x@{alive}", count=10)
        live.wait_messages(100, timeout=30)
        wait_for(lambda: relays(postern).get(down, {}).get("state") == "put-off")
        line = relays(postern, "for", down)[down]
        assert line["queued"] == 200
        assert line["in_flight"] == 0 and line["window"] == 1
        assert line["error"].startswith("421 4.3.2")
        assert relays(postern).get(alive, {"queued": 0})["queued"] == 0
        # Not each message tried it, nor each once.
        assert len(dead.sessions) < 20
        postern.wait_log("destination-put-off", to=down)
        # What waits for it says why, though it never was tried itself.
        envelopes = postern.queue("to", f"@{down}")
        assert len(envelopes) == 200
        assert all(envelope["error"].startswith("421") for envelope in envelopes)
        assert any(envelope["tries"] == 0 for envelope in envelopes)
        # Back again: one message goes, and then all.
        dead.always("GREETING", None)
        postern.smtpctl("schedule", "to", f"@{down}")
        dead.wait_messages(200, timeout=30)
        postern.wait_log("destination-reached", to=down)
        postern.wait_queue_empty()


def test_hosts_that_never_answer_hold_up_no_other(relay):
    silent = [silent_port(loopback_address()) for _ in range(40)]
    try:
        with Peer() as live:
            postern = relay()
            for socket in silent:
                send(postern, f"x@[{socket.getsockname()[0]}]", count=3)
            send(postern, f"x@[{live.address}]", count=100)
            live.wait_messages(100)
            assert len(postern.queue()) == 120
            # Nor do they hold up the end of all.
            postern.stop()
            postern.start()
            assert len(postern.queue()) == 120
            postern.smtpctl("remove", "all")
    finally:
        for socket in silent:
            socket.close()


def test_a_put_off_destination_is_tried_again_by_itself(relay):
    with Peer() as peer:
        peer.on("GREETING", "421 4.3.2 not now", "421 4.3.2 not now")
        postern = relay(retry="1s", extra="queue retry-max 2s\n")
        send(postern, f"x@[{peer.address}]", count=20)
        peer.wait_messages(20, timeout=30)
        postern.wait_queue_empty()


def test_a_report_goes_to_a_sender_elsewhere(relay):
    """RFC 5321 6.1: with the null sender, to where the message came from."""
    with Peer() as home, Peer() as peer:
        peer.always("RCPT", "550 5.1.1 nobody here")
        postern = relay()
        send(postern, f"x@[{peer.address}]", sender=f"erin@[{home.address}]")
        (message,) = home.wait_messages(1)
        assert message.sender == ""
        assert message.recipients == [f"erin@[{home.address}]"]
        text = message.data.decode()
        assert f"Final-Recipient: rfc822; x@[{peer.address}]\r\nAction: failed\r\nStatus: 5.1.1\r\n" in text
        assert "Diagnostic-Code: smtp; 550 5.1.1 nobody here\r\n" in text
        assert "Remote-MTA: dns; " in text
        postern.wait_queue_empty()


@pytest.mark.parametrize("extensions, relayed", [((), True), (("DSN",), False)])
def test_success_is_reported_by_whom_can(relay, extensions, relayed):
    """RFC 3461 5.2.2: the next host has taken it over when it knows of DSN."""
    with Peer(extensions=extensions) as peer:
        postern = relay()
        send(postern, f"x@[{peer.address}]", options=["NOTIFY=SUCCESS"])
        peer.wait_messages(1)
        if relayed:
            (mail,) = postern.wait_mail("alice@example.test")
            assert b"Action: relayed\r\n" in mail.data.replace(b"\n", b"\r\n").replace(b"\r\r", b"\r")
        postern.wait_queue_empty()
        assert len(postern.mails("alice@example.test")) == relayed


def test_one_destination_is_paused_and_resumed(relay):
    with Peer() as held, Peer() as other:
        postern = relay()
        postern.smtpctl("pause", "mta", "for", f"[{held.address}]")
        send(postern, f"x@[{held.address}]", f"x@[{other.address}]")
        other.wait_messages(1)
        (envelope,) = postern.queue()
        assert envelope["dest"] == f"x@[{held.address}]"
        assert relays(postern)[f"[{held.address}]"]["state"] == "paused"
        assert held.sessions == []
        postern.smtpctl("resume", "mta", "for", f"[{held.address}]")
        held.wait_messages(1)
        postern.wait_queue_empty()


def test_the_last_dialogue_is_shown(relay):
    with Peer() as peer:
        peer.always("RCPT", "450 4.7.1 greylisted")
        postern = relay()
        send(postern, f"x@[{peer.address}]")
        (envelope,) = wait_for(lambda: [e for e in postern.queue() if e["error"]])
        shown = postern.smtpctl("show", "envelope", envelope["id"]).stdout
        assert re.search(r"^dialogue: .*>>> RCPT TO:<x@\[", shown, re.MULTILINE), shown
        assert re.search(r"^dialogue: .*<<< 450 4\.7\.1 greylisted$", shown, re.MULTILINE), shown
        assert "hello 0" not in shown
        postern.smtpctl("remove", "all")


def test_mail_flows_on_when_the_relay_is_killed(relay):
    """What was in hand is sent again, and may arrive twice; nothing is lost."""
    with Peer() as peer:
        postern = relay(retry="1s")
        for _ in range(4):
            send(postern, f"x@[{peer.address}]", count=25)
            postern.kill_and_wait_back("relay")
        # By the id that our Received: has.
        wait_for(lambda: len({re.search(rb"\bid (\w+)", message.data).group(1)
            for message in list(peer.messages)}) == 100, 30)
        postern.wait_queue_empty()


def test_nothing_is_lost_when_the_queue_is_killed(relay):
    """Its tasks end with it; what the next host took in that moment it may get twice."""
    with Peer() as peer:
        postern = relay(retry="1s")
        postern.smtpctl("pause", "mta")
        send(postern, f"x@[{peer.address}]", count=150)
        postern.smtpctl("resume", "mta")
        for _ in range(3):
            taken = len(peer.messages)
            wait_for(lambda: len(peer.messages) > taken + 10)
            postern.kill_and_wait_back("queue")
        wait_for(lambda: len({re.search(rb"\bid (\w+)", message.data).group(1)
            for message in list(peer.messages)}) == 150, 30)
        wait_for(lambda: postern.smtpctl("show", "queue", check=False).returncode == 0)
        postern.wait_queue_empty()


def test_pausing_a_domain_holds_its_mail_by_smarthosts_too(make_postern):
    with Peer() as smarthost:
        postern = make_postern(rules=RULES.replace('"out" relay',
            f'"out" relay host "smtp://{smarthost.address}"'))
        postern.smtpctl("pause", "mta")
        send(postern, "before@far.test", "before@other.test")
        postern.smtpctl("pause", "mta", "for", "Far.Test")
        send(postern, "after@far.test", "after@other.test")
        postern.smtpctl("resume", "mta")
        smarthost.wait_messages(2)
        sent = sorted(rcpt for message in smarthost.messages for rcpt in message.recipients)
        assert sent == ["after@other.test", "before@other.test"]
        line = relays(postern, "for", "far.test")["far.test"]
        assert (line["state"], line["queued"]) == ("paused", 2)
        postern.smtpctl("resume", "mta", "for", "far.test")
        smarthost.wait_messages(4)
        postern.wait_queue_empty()
