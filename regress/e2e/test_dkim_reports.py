"""DKIM signatures of what the suite itself sends: reports to senders. They go by relay to another
server, as the sender's is, and verify there; a keeper that doesn't answer holds no report up."""

import email
import os
import re
import signal
import time

import pytest

from postern import wait_for
from test_dkim import records, verify
from test_relay import RULES, Names
from smtp_peer import Peer, loopback_address

pytestmark = pytest.mark.root  # port 25

HELO = "mx.example.test"  # the suite's name


class Mail:
    def __init__(self, data):
        self.data = data
        self.message = email.message_from_bytes(data)


@pytest.fixture
def far(tool, tmp_path, make_postern):
    """A sender's server, far.test's, and the suite that tells him of failures."""
    names = Names(tool("dnsmasq"), tmp_path)
    with Peer(address=loopback_address()) as peer:
        names.set("mx-host=far.test,mx.far.test,10", f"host-record=mx.far.test,{peer.address}")
        peer.postern = make_postern(rules=RULES,
            extra=f"resolver nameserver 127.0.0.1@{names.port}\nqueue retry-first 1s\n")
        yield peer
    names.stop()


def fail(far, text="Subject: x\r\n\r\nhello\r\n", sender="alice@far.test"):
    """Mail to nobody, whom his server refuses; the report of it."""
    far.on("RCPT", "550 5.1.1 no such user")
    far.postern.send("nobody@far.test", text, sender=sender)
    wait_for(lambda: far.messages, what="the report")
    return Mail(far.messages[-1].data)


def test_a_report_to_a_remote_sender_is_signed(far):
    published = records(far.postern, "add", HELO)
    report = fail(far)
    assert report.message["From"].endswith(f"<MAILER-DAEMON@{HELO}>")
    assert f"d={HELO};" in report.message["DKIM-Signature"]
    verify(report, published)


def test_a_key_of_the_domain_above_signs_as_well(far):
    """The suite's own name is a host's; its mail is of the domain that the host is in."""
    published = records(far.postern, "add", HELO.partition(".")[2])
    verify(fail(far), published)


def test_without_a_key_a_report_goes_unsigned(far):
    records(far.postern, "add", "other.test")
    assert "DKIM-Signature" not in fail(far).message


def test_a_report_that_returns_odd_text_is_signed(far):
    published = records(far.postern, "add", HELO)
    verify(fail(far, "Subject: \u00fc\r\nX: " + "x" * 900 + "\r\n\r\n" + "\u00e4 \t\r\n" * 500), published)


@pytest.mark.parametrize("harm", ["stopped", "killed"])
def test_without_the_keeper_a_report_waits_a_little(far, harm):
    """Who doesn't answer is given up after seconds, and the log says so; who comes back signs."""
    published = records(far.postern, "add", HELO)
    far.postern.allow("dkim-failed|keeper")
    (keeper,) = far.postern.pids("keeper")
    os.kill(keeper, signal.SIGSTOP)
    if harm == "killed":
        far.on("RCPT", "550 5.1.1 no such user")
        far.postern.send("nobody@far.test", "Subject: x\r\n\r\nx\r\n", sender="alice@far.test")
        far.postern.wait_log("delivery-failed")
        far.postern.kill_and_wait_back("keeper")
        (report,) = far.wait_messages(1)
        verify(Mail(report.data), published)
        return
    begin = time.monotonic()
    report = fail(far)
    assert "DKIM-Signature" not in report.message and time.monotonic() - begin < 12
    (line,) = far.postern.log_lines("dkim-failed", result="unsigned")
    assert line["domain"] == HELO
    assert re.match("[0-9a-f]{8}$", line["message"])
    os.kill(keeper, signal.SIGCONT)
