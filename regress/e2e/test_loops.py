"""Mail that goes round: found where it comes by again, and ended by one report. And reports about mail that
nobody wrote."""

import re

import pytest

from postern import wait_for
from smtp_peer import Peer

pytestmark = pytest.mark.root

TEXT = "From: joe@sender.test\r\nSubject: x\r\n{}\r\nhello\r\n"


@pytest.fixture
def sender():
    """Where joe@sender.test has his mail."""
    with Peer(port=None, name="mx.sender.test") as peer:
        yield peer


def make(make_postern, domain, hosts, extra=""):
    """A suite that has `domain`, and sends all else to `hosts`, by domain."""
    table = ", ".join(f'"{name}" = "smtp+notls://{host}"' for name, host in hosts.items())
    postern = make_postern(start=False, rules=f"""
action "in" maildir virtual <accounts>
action "out" relay domain {{ {table} }} srs
match from any for domain <accounts> action "in"
match for any action "out"
""", extra=f'srs key "the secret of {domain}"\nqueue retry-first 1s\nqueue retry-max 1s\n' + extra)
    postern.start()
    postern.add_domain(domain)
    return postern


def test_a_loop_between_two_servers_ends_in_one_report(make_postern, sender):
    """ann@one.test is forwarded to ann@two.test, and that back."""
    from postern import free_port
    ports = free_port(), free_port()
    suites = []
    for domain, other, port, other_port in (("one.test", "two.test", *ports),
            ("two.test", "one.test", *reversed(ports))):
        suite = make_postern(start=False, listen=f"listen on 127.0.0.1 port {port}", rules=f"""
action "in" maildir virtual <accounts>
action "out" relay domain {{ "{other}" = "smtp+notls://127.0.0.1:{other_port}",
    "sender.test" = "smtp+notls://{sender.address}:{sender.port}" }} srs
match from any for domain <accounts> action "in"
match for any action "out"
""", extra=f'srs key "the secret of {domain}"\nqueue retry-first 1s\nqueue retry-max 1s\n')
        suite.port = port
        suite.start()
        suite.add_domain(domain)
        suites.append(suite)
    one, two = suites
    one.add_alias("ann@one.test", "ann@two.test")
    two.add_alias("ann@two.test", "ann@one.test")
    one.send(["ann@one.test"], sender="joe@sender.test")
    (report,) = sender.wait_messages(1)
    assert report.recipients == ["joe@sender.test"] and report.sender == ""
    assert b"5.4.6" in report.data and b"forwarded from ann@one.test before" in report.data
    assert report.data.count(b"\nDelivered-To: ann@") == 2
    for suite in suites:
        suite.wait_queue_empty()
    assert len(sender.messages) == 1
    assert len(one.log_lines("delivered")) + len(two.log_lines("delivered")) <= 6
