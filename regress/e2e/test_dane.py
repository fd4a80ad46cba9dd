"""DANE (RFC 7672): mail to hosts whose certificates signed DNS names, and what keeps it waiting."""

import hashlib
import re
import ssl
import subprocess

import pytest

from signed_dns import SignedDns, Zone
from smtp_peer import Peer
from test_relay import RULES, send
from test_relay_tls import Authority


class Fixture:
    """A peer per host; `tlsa` of each is what DNS says of it."""

    def __init__(self, tool, folder, make_postern):
        self.tool, self.folder, self.make_postern = tool, folder, make_postern
        self.authority = Authority(folder)
        self.dns = None

    def digest(self, name, days=5):
        """SHA-256 of the public key of the certificate that the authority has made for a name."""
        key = subprocess.run(["openssl", "x509", "-in", self.folder / f"{name}{days}.pem", "-noout",
            "-pubkey"], check=True, capture_output=True).stdout
        der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=key, check=True,
            capture_output=True).stdout
        return hashlib.sha256(der).hexdigest()

    def start(self, **zones):
        self.dns = SignedDns(self.tool, self.folder, zones)
        postern = self.make_postern(start=False, rules=RULES,
            extra=f"resolver nameserver 127.0.0.1@{self.dns.port}\n"
            f"resolver trust-anchor {self.dns.anchor}\nqueue retry-first 1s\nqueue retry-max 2s\n")
        for folder in (self.folder, self.dns.directory):
            folder.chmod(0o755)
        postern.start()
        postern.add_domain("example.test")
        postern.add_user("alice@example.test")
        return postern


@pytest.fixture
def dane(tool, tmp_path, make_postern):
    fixture = Fixture(tool, tmp_path, make_postern)
    yield fixture
    if fixture.dns is not None:
        fixture.dns.stop()


def records(peer, tlsa="", mx="mx"):
    return f"@ MX 10 {mx}\nmx A {peer.address}\n{tlsa}\n"


pytestmark = pytest.mark.root  # hosts of MX records are connected to at port 25


@pytest.mark.parametrize("days", [5, -1], ids=["good", "expired"])
def test_named_key_is_enough(dane, days):
    """RFC 7672 3.1.1: nothing else of the certificate counts, neither its names nor its dates."""
    with Peer(context=dane.authority.context("other.test", days)) as peer:
        postern = dane.start(example=Zone(records(peer,
            f"_25._tcp.mx TLSA 3 1 1 {dane.digest('other.test', days)}")))
        send(postern, "x@example")
        (message,) = peer.wait_messages(1)
        assert message.session.tls


def test_other_key_keeps_the_mail(dane):
    with Peer(context=dane.authority.context("mx.example")) as peer:
        postern = dane.start(example=Zone(records(peer, f"_25._tcp.mx TLSA 3 1 1 {'00' * 32}")))
        send(postern, "x@example")
        postern.wait_log("delivery-deferred", to="x@example")
        assert not peer.messages


def test_host_without_tls_gets_nothing(dane):
    with Peer() as peer:
        postern = dane.start(example=Zone(records(peer, f"_25._tcp.mx TLSA 3 1 1 {'00' * 32}")))
        send(postern, "x@example")
        postern.wait_log("delivery-deferred", to="x@example")
        assert not peer.messages


def test_named_authority_signs_for_the_host(dane):
    """Usage 2: its certificate is sent along, and the host's is for the host's name (3.1.2)."""
    contexts = {name: dane.authority.context(name) for name in ("mx.example", "other.test")}
    for name in contexts:
        file = dane.folder / f"{name}5.pem"
        file.write_text(file.read_text() + dane.authority.file.read_text())
        contexts[name] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        contexts[name].load_cert_chain(file, dane.folder / f"{name}5.key")
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(dane.authority.file.read_text())).hexdigest()
    tlsa = f"_25._tcp.mx TLSA 2 0 1 {digest}"
    with Peer(context=contexts["mx.example"]) as peer, Peer(context=contexts["other.test"]) as bad:
        postern = dane.start(example=Zone(records(peer, tlsa)), other=Zone(records(bad, tlsa)))
        send(postern, "x@example")
        peer.wait_messages(1)
        send(postern, "x@other")
        postern.wait_log("delivery-deferred", to="x@other")
        assert not bad.messages


def test_records_that_nobody_signed_change_nothing(dane):
    with Peer() as peer:
        postern = dane.start(plain=Zone(records(peer, f"_25._tcp.mx TLSA 3 1 1 {'00' * 32}"),
            signed=False), example=Zone())
        send(postern, "x@plain")
        peer.wait_messages(1)


def test_absence_of_records_is_believed_when_it_is_signed(dane):
    with Peer() as peer:
        postern = dane.start(example=Zone(records(peer)))
        send(postern, "x@example")
        peer.wait_messages(1)


@pytest.mark.parametrize("damaged, name", [("_25._tcp.mx", "_25._tcp.mx.example"),
    ("mx", "mx.example")], ids=["TLSA", "address"])
def test_wrong_signature_keeps_the_mail_and_says_so(dane, damaged, name):
    with Peer(context=dane.authority.context("mx.example")) as peer:
        postern = dane.start(example=Zone(records(peer,
            f"_25._tcp.mx TLSA 3 1 1 {dane.digest('mx.example')}"), damaged=(damaged,)))
        send(postern, "x@example")
        postern.wait_log("delivery-deferred", to="x@example",
            reply=re.compile(f"validation failure.*{re.escape(name)}"))
        assert not peer.messages and not peer.sessions


def test_better_host_that_fails_is_passed_over(dane):
    with Peer() as bad, Peer(context=dane.authority.context("mx2.example")) as good:
        postern = dane.start(example=Zone(records(bad, f"_25._tcp.mx TLSA 3 1 1 {'00' * 32}\n"
            f"@ MX 20 mx2\nmx2 A {good.address}\n"
            f"_25._tcp.mx2 TLSA 3 1 1 {dane.digest('mx2.example')}")))
        send(postern, "x@example")
        good.wait_messages(1)
        assert not bad.messages


def test_alias_of_a_host_is_secured_by_either_name(dane):
    """RFC 7672 2.2.2: the name that it leads to, and if that has no records, its own."""
    with Peer(context=dane.authority.context("mx.example")) as peer:
        digest = dane.digest("mx.example")
        postern = dane.start(
            example=Zone(records(peer, f"_25._tcp.mx TLSA 3 1 1 {digest}\n")),
            far=Zone("@ MX 10 alias\nalias CNAME mx.example.\n"),
            wrong=Zone("@ MX 10 alias\nalias CNAME mx.plain.\n"
                f"_25._tcp.alias TLSA 3 1 1 {'00' * 32}\n"),
            plain=Zone(f"mx A {peer.address}\n", signed=False))
        send(postern, "x@far")
        peer.wait_messages(1)
        # The alias is signed, and has records of its own; where it leads isn't.
        send(postern, "x@wrong")
        postern.wait_log("delivery-deferred", to="x@wrong")
        assert len(peer.messages) == 1
