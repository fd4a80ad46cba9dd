"""Mail to hosts whose DNS is signed and says what their certificates are: nsd with signed zones, MXs
of the tests' own with certificates of the tests' own."""

import hashlib
import re
import smtplib
import subprocess

import pytest

from postern import free_port
from signed_dns import SignedDns, Zone
from smtp_peer import Peer, loopback_address
from test_relay import RULES, bounce, send
from test_relay_tls import Authority, authority  # noqa: F401 (a fixture)
from test_tls import Pair, insecure

pytestmark = pytest.mark.root  # port 25


def digest(file, what="cert"):
    """SHA-256 of a PEM file's certificate, or of the key in it."""
    if what == "cert":
        der = subprocess.run(["openssl", "x509", "-in", file, "-outform", "DER"], check=True,
            capture_output=True).stdout
    else:
        pem = subprocess.run(["openssl", "x509", "-in", file, "-pubkey", "-noout"], check=True,
            capture_output=True).stdout
        der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=pem, check=True,
            capture_output=True).stdout
    return hashlib.sha256(der).hexdigest()


class Network:
    """far.signed's MXs, by preference; `tlsa[i]` are the records of the i-th (several: a list)."""

    def __init__(self, tool, folder, make_postern, authority):
        self.tool, self.folder, self.make_postern = tool, folder, make_postern
        self.authority = authority
        self.addresses = [loopback_address() for _ in range(2)]
        self.peers, self.dns = [], None

    def peer(self, number=0, name=None, days=5, **options):
        """An MX with a certificate for that name, its own if none is given; "": none."""
        context = None
        if name != "":
            context = self.authority.context(name or f"mx{number}.hosts.signed", days)
            self.pem = self.folder / f"{name or f'mx{number}.hosts.signed'}{days}.pem"
        peer = Peer(address=self.addresses[number], context=context, name=f"mx{number}.hosts.signed",
            **options)
        peer.__enter__()
        self.peers.append(peer)
        return peer

    def start(self, *tlsa, options="ca test", extra="", damaged=(), open_extra="", config=""):
        """tlsa[i]: of the i-th MX, records' data; `open_extra`: records of the zone that isn't
        signed; `config`: more of it."""
        records, mx = "", ""
        for number, data in enumerate(tlsa):
            mx += f"far IN MX {10 * (number + 1)} mx{number}.hosts.signed.\n"
            records += f"mx{number}.hosts IN A {self.addresses[number]}\n"
            for one in [data] if isinstance(data, str) else data or []:
                records += f"_25._tcp.mx{number}.hosts IN TLSA {one}\n"
        zones = {"example": Zone(), "signed": Zone(records + mx + extra, damaged=damaged),
            "open": Zone(mx + open_extra, signed=False)}
        self.dns = SignedDns(self.tool, self.folder, zones)
        for path in (self.folder, self.dns.directory):
            path.chmod(0o755)
        self.authority.file.chmod(0o644)
        self.dns.anchor.chmod(0o644)
        self.port = free_port()
        ours = Pair(self.folder, "mx.example.test", kind="ec")
        postern = self.make_postern(rules=RULES.replace('"out" relay', f'"out" relay {options}'),
            extra=f"resolver nameserver 127.0.0.1@{self.dns.port}\n"
            f"resolver trust-anchor {self.dns.anchor}\n"
            f'ca test cert "{self.authority.file}"\n{ours.statements("mx")}'
            f"listen on 127.0.0.1 port {self.port} tls pki mx\n"
            f'queue retry-first 1s\nqueue retry-max 2s\n{config}')
        postern.smtpctl("trace", "mta")
        return postern

    def send_over_tls(self, to, *options, headers=""):
        """What the server said to MAIL with these options, or of the whole."""
        with smtplib.SMTP("127.0.0.1", self.port, timeout=20) as client:
            client.starttls(context=insecure())
            client.ehlo("client.test")
            assert client.has_extn("requiretls")
            client.sendmail("alice@example.test", to, f"{headers}Subject: x\r\n\r\nx\r\n", options)

    def stop(self):
        for peer in self.peers:
            peer.__exit__()
        if self.dns:
            self.dns.stop()


@pytest.fixture
def net(tool, tmp_path, make_postern, authority):  # noqa: F811
    network = Network(tool, tmp_path, make_postern, authority)
    yield network
    network.stop()


def check_kept(postern, peer, words):
    send(postern, "x@far.signed")
    postern.wait_log("delivery-deferred", to="x@far.signed", reply=re.compile(words))
    assert not peer.messages


@pytest.mark.parametrize("kind", ["3 1 1", "2 0 1"])
def test_the_right_certificate(net, kind):
    peer = net.peer()
    if kind == "2 0 1":
        data = digest(net.authority.file)
        # The chain must hold the authority that the record names (RFC 7672 3.1.2).
        chain = net.folder / "chain.pem"
        chain.write_text(net.pem.read_text() + net.authority.file.read_text())
        peer.context.load_cert_chain(chain, net.pem.with_suffix(".key"))
    else:
        data = digest(net.pem, "key")
    postern = net.start(f"{kind} {data}")
    send(postern, "x@far.signed")
    (message,) = peer.wait_messages(1)
    assert message.session.tls == "TLSv1.3"
    postern.wait_log("relay-connected", host="mx0.hosts.signed", tls=re.compile("^TLSv1.3 .* dane$"))
    postern.wait_log("delivered", to="x@far.signed")


def test_another_certificate_keeps_the_mail(net):
    peer = net.peer()
    postern = net.start(f"3 1 1 {'0' * 64}")
    check_kept(postern, peer, "4.7.5.*certificate isn't good.*TLSA")
    assert all(line.split()[0] in ("EHLO", "STARTTLS") for session in peer.sessions
        for line in session.lines)


def test_mail_goes_to_the_next_mx_that_is_right(net):
    wrong, right = net.peer(0), net.peer(1)
    postern = net.start(f"3 1 1 {'0' * 64}", f"3 1 1 {digest(net.pem, 'key')}")
    send(postern, "x@far.signed")
    right.wait_messages(1)
    assert not wrong.messages


def test_dates_and_names_do_not_matter_where_the_certificate_is_named(net):
    peer = net.peer(name="other.test", days=-1)
    postern = net.start(f"3 1 1 {digest(net.pem, 'key')}")
    send(postern, "x@far.signed")
    (message,) = peer.wait_messages(1)
    assert message.session.tls


@pytest.mark.parametrize("name, days, right", [("far.signed", 5, True),
    ("other.test", 5, False), ("mx0.hosts.signed", -1, False)],
    ids=["the domain", "another", "expired"])
def test_names_and_dates_matter_where_an_authority_is_named(net, name, days, right):
    peer = net.peer(name=name, days=days)
    chain = net.folder / "chain.pem"
    chain.write_text(net.pem.read_text() + net.authority.file.read_text())
    peer.context.load_cert_chain(chain, net.pem.with_suffix(".key"))
    postern = net.start(f"2 0 1 {digest(net.authority.file)}")
    if right:
        send(postern, "x@far.signed")
        peer.wait_messages(1)
        postern.wait_log("relay-connected", tls=re.compile("dane$"))
    else:
        check_kept(postern, peer, "4.7.5.*certificate isn't good")


def test_starttls_that_is_taken_away_keeps_the_mail(net):
    peer = net.peer(name="")
    postern = net.start(f"3 1 1 {'0' * 64}")
    check_kept(postern, peer, "4.7.10.*TLSA records promise")


def test_handshake_that_is_broken_keeps_the_mail(net):
    peer = net.peer()
    peer.always("STARTTLS", b"220 go ahead\r\n500 what?\r\n")
    postern = net.start(f"3 1 1 {digest(net.pem, 'key')}")
    check_kept(postern, peer, "4.7.")


def test_unusable_records_make_tls_a_must_by_any_certificate(net):
    peer = net.peer(name="other.test", days=-1)
    postern = net.start([f"1 1 1 {'0' * 64}", f"0 0 1 {'0' * 64}"])
    send(postern, "x@far.signed")
    (message,) = peer.wait_messages(1)
    assert message.session.tls
    postern.wait_log("tlsa-found", records="2", usable="0")


def test_bogus_records_keep_the_mail(net):
    peer = net.peer()
    postern = net.start(f"3 1 1 {digest(net.pem, 'key')}", damaged=["_25._tcp.mx0.hosts"])
    check_kept(postern, peer, "4.7.5.*TLSA records of mx0.hosts.signed can't be looked up: .*validation")
    assert not peer.sessions


def test_an_address_with_a_wrong_signature_is_none(net):
    peer = net.peer()
    postern = net.start(None, damaged=["mx0.hosts"])
    check_kept(postern, peer, r"validation failure.*mx0\.hosts\.signed")
    assert not peer.sessions


def test_signed_absence_of_records_is_no_reason_to_wait(net):
    peer = net.peer(name="")
    postern = net.start(None)
    send(postern, "x@far.signed")
    (message,) = peer.wait_messages(1)
    assert message.session.tls is None


def test_signed_alias_of_an_unsigned_host_has_records_of_its_own(net):
    """RFC 7672 2.2.2. All of it unsigned means nothing."""
    peer = net.peer()
    wrong = f"IN TLSA 3 1 1 {'0' * 64}\n"
    postern = net.start(
        extra=f"by-alias IN MX 1 alias.signed.\nalias IN CNAME mx.open.\n_25._tcp.alias {wrong}",
        open_extra="by-alias IN MX 1 alias.open.\nalias IN CNAME mx.open.\n"
        f"mx IN A {peer.address}\n_25._tcp.alias {wrong}_25._tcp.mx {wrong}")
    send(postern, "x@by-alias.signed")
    postern.wait_log("delivery-deferred", to="x@by-alias.signed", reply=re.compile("4.7.5.*TLSA"))
    assert not peer.messages
    send(postern, "x@by-alias.open")
    (message,) = peer.wait_messages(1)
    assert message.recipients == ["x@by-alias.open"]


def test_unsigned_mx_records_mean_no_dane(net):
    peer = net.peer(name="")
    postern = net.start(f"3 1 1 {'0' * 64}")
    send(postern, "x@far.open")
    (message,) = peer.wait_messages(1)
    assert message.session.tls is None


def test_hosts_that_the_action_names_have_records_too(net):
    peer = net.peer()
    postern = net.start(f"3 1 1 {digest(net.pem, 'key')}", options='host "smtp://mx0.hosts.signed"')
    send(postern, "x@elsewhere.test")
    peer.wait_messages(1)
    postern.wait_log("relay-connected", tls=re.compile("dane$"))


def test_alias_of_a_host_has_the_records_of_either_name(net):
    """RFC 7672 2.2.2: the name that the alias leads to first, and then its own."""
    peer = net.peer(name="other.test")
    right = f"3 1 1 {digest(net.pem, 'key')}"
    extra = (f"front IN CNAME mx0.hosts.signed.\n_25._tcp.front IN TLSA 3 1 1 {'0' * 64}\n"
        f"side IN CNAME bare.hosts.signed.\n_25._tcp.side IN TLSA {right}\n"
        f"bare.hosts IN A {peer.address}\n"
        "by-front IN MX 1 front.signed.\nby-side IN MX 1 side.signed.\n")
    postern = net.start(right, extra=extra)
    send(postern, "x@by-front.signed")
    peer.wait_messages(1)
    postern.wait_log("relay-connected", host="front.signed", tls=re.compile("dane$"))
    send(postern, "x@by-side.signed")
    peer.wait_messages(2)
    postern.wait_log("relay-connected", host="side.signed", tls=re.compile("dane$"))


def test_hosts_of_an_authority_serve_each_domain_on_its_own(net):
    """The certificate is for one of the two domains that share the host."""
    peer = net.peer(name="far.signed")
    chain = net.folder / "chain.pem"
    chain.write_text(net.pem.read_text() + net.authority.file.read_text())
    peer.context.load_cert_chain(chain, net.pem.with_suffix(".key"))
    postern = net.start(f"2 0 1 {digest(net.authority.file)}",
        extra="other IN MX 10 mx0.hosts.signed.\n")
    send(postern, "x@other.signed")
    postern.wait_log("delivery-deferred", to="x@other.signed", reply=re.compile("4.7.5"))
    send(postern, "x@far.signed")
    (message,) = peer.wait_messages(1)
    assert message.recipients == ["x@far.signed"]


REQUIRETLS = ("PIPELINING", "8BITMIME", "REQUIRETLS")


def test_required_tls_goes_by_dane(net):
    peer = net.peer(name="other.test", extensions=REQUIRETLS)
    net.start(f"3 1 1 {digest(net.pem, 'key')}")
    net.send_over_tls("x@far.signed", "REQUIRETLS")
    (message,) = peer.wait_messages(1)
    assert "REQUIRETLS" in message.options and message.session.tls


def test_required_tls_goes_by_the_authorities_where_there_are_no_records(net):
    peer = net.peer(extensions=REQUIRETLS)
    postern = net.start(None)
    net.send_over_tls("x@far.signed", "REQUIRETLS")
    (message,) = peer.wait_messages(1)
    assert "REQUIRETLS" in message.options
    postern.wait_log("relay-connected", tls=re.compile("verified$"))


@pytest.mark.parametrize("to, peer_options, code", [
    ("x@far.signed", {"extensions": ("8BITMIME",)}, "5.7.30"),
    ("x@far.signed", {"name": "other.test", "extensions": REQUIRETLS}, "5.7.10"),
    ("x@far.signed", {"name": "", "extensions": REQUIRETLS}, "5.7.10"),
    ("x@far.open", {"extensions": REQUIRETLS}, "5.7.10")],
    ids=["not offered", "wrong certificate", "no TLS", "MX that isn't signed"])
def test_required_tls_that_cannot_be_had_is_returned(net, to, peer_options, code):
    peer = net.peer(**peer_options)
    postern = net.start(None)
    net.send_over_tls(to, "REQUIRETLS")
    assert code in bounce(postern)
    assert not peer.messages


def test_tls_required_no_goes_whatever_the_records_say(net):
    peer = net.peer()
    postern = net.start(f"3 1 1 {'0' * 64}")
    net.send_over_tls("x@far.signed", headers="TLS-Required: No\r\n")
    (message,) = peer.wait_messages(1)
    assert message.session.tls
    # Another message, to the same host, that doesn't say so.
    send(postern, "y@far.signed")
    postern.wait_log("delivery-deferred", to="y@far.signed", reply=re.compile("4.7.5"))


def test_requiretls_is_not_taken_in_the_clear(net):
    postern = net.start(None)
    with postern.smtp() as client:
        client.ehlo("client.test")
        assert not client.has_extn("requiretls")
        assert client.docmd("MAIL", "FROM:<alice@example.test> REQUIRETLS")[0] == 555
