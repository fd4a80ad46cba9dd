"""DANE where only a part of what DNS says of a host is signed, or is signed wrongly (RFC 7672 2.2.2)."""

import re

import pytest

from signed_dns import SignedDns, Zone
from smtp_peer import Peer
from test_relay import RULES, send

pytestmark = pytest.mark.root  # hosts of MX records are connected to at port 25
WRONG = "00" * 32


@pytest.fixture
def start(tool, tmp_path, make_postern):
    servers = []

    def make(**zones):
        server = SignedDns(tool, tmp_path, zones)
        servers.append(server)
        for folder in (tmp_path, server.directory):
            folder.chmod(0o755)
        postern = make_postern(rules=RULES, extra=f"resolver nameserver 127.0.0.1@{server.port}\n"
            f"resolver trust-anchor {server.anchor}\nqueue retry-first 1s\nqueue retry-max 2s\n")
        return postern
    yield make
    for server in servers:
        server.stop()


def test_signed_absence_of_records_is_no_reason_to_wait(start):
    with Peer() as peer:
        postern = start(example=Zone(f"@ MX 10 mx\nmx A {peer.address}\n"))
        send(postern, "x@example")
        peer.wait_messages(1)


def test_address_with_a_wrong_signature_is_none(start):
    with Peer() as peer:
        postern = start(example=Zone(f"@ MX 10 mx\nmx A {peer.address}\n", damaged=("mx",)))
        send(postern, "x@example")
        postern.wait_log("delivery-deferred", to="x@example",
            reply=re.compile(r"validation failure.*mx\.example"))
        assert not peer.sessions


def test_signed_alias_of_an_unsigned_host_has_records_of_its_own(start):
    with Peer() as peer:
        postern = start(example=Zone("@ MX 10 alias\nalias CNAME mx.plain.\n"
            f"_25._tcp.alias TLSA 3 1 1 {WRONG}\n"),
            plain=Zone(f"@ MX 10 alias\nalias CNAME mx\nmx A {peer.address}\n"
                f"_25._tcp.alias TLSA 3 1 1 {WRONG}\n_25._tcp.mx TLSA 3 1 1 {WRONG}\n",
                signed=False))
        send(postern, "x@example")
        postern.wait_log("delivery-deferred", to="x@example")
        assert not peer.messages
        # All of it unsigned means nothing.
        send(postern, "x@plain")
        peer.wait_messages(1)
