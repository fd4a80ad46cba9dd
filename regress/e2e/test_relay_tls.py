"""Mail to other servers over TLS, and to smarthosts that want a password. Certificates are made by
a CA of the test's own."""

import re
import ssl
import subprocess

import pytest

from smtp_peer import CLOSE, Peer
from test_relay import RULES, Names, send


@pytest.fixture
def names(tool, tmp_path):
    server = Names(tool("dnsmasq"), tmp_path)
    yield server
    server.stop()


class Authority:
    """certificate() makes one that it has signed; its own is `file`."""

    def __init__(self, folder):
        self.folder = folder
        self.file = folder / "ca.pem"
        self._run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
            "-keyout", folder / "ca.key", "-out", self.file, "-days", "10", "-subj", "/CN=the test's")

    def _run(self, *arguments):
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)

    def context(self, name, days=5):
        """A server's SSLContext with a certificate for that name; days=-1: it has expired."""
        key, request, file = (self.folder / f"{name}{days}.{end}" for end in ("key", "csr", "pem"))
        self._run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout",
            key, "-out", request, "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}")
        self._run("x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self.folder / "ca.key",
            "-CAcreateserial", "-copy_extensions", "copy", "-out", file, "-days", days)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file, key)
        return context

    def again(self, name, days, other_days):
        """Another certificate of the same key, good for so long; its file."""
        file = self.folder / f"{name}{days}.{other_days}.pem"
        self._run("x509", "-req", "-in", self.folder / f"{name}{days}.csr", "-CA", self.file, "-CAkey",
            self.folder / "ca.key", "-CAcreateserial", "-copy_extensions", "copy", "-out", file,
            "-days", other_days)
        return file


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def make(make_postern, names, authority):
    def build(options):
        postern = make_postern(start=False, rules=RULES.replace('"out" relay',
            f'"out" relay {options}'), extra=f"resolver nameserver 127.0.0.1@{names.port}\n"
            f'ca test cert "{authority.file}"\nqueue retry-first 1s\nqueue retry-max 2s\n')
        authority.file.chmod(0o644)
        authority.folder.chmod(0o755)
        postern.start()
        postern.add_domain("example.test")
        postern.add_user("alice@example.test")
        return postern
    return build


def smart(peer, scheme="smtp", label=""):
    return f'host "{scheme}://{label}smart.test:{peer.port}"'


def test_tls_is_used_when_it_is_offered(make, names, authority):
    with Peer(port=None, context=authority.context("other.test")) as peer:
        names.set(f"host-record=smart.test,{peer.address}")
        postern = make(smart(peer))
        send(postern, "x@far.test")
        (message,) = peer.wait_messages(1)
        assert message.session.tls == "TLSv1.3"
        assert [line.split()[0] for line in message.session.lines[:3]] == ["EHLO", "STARTTLS", "EHLO"]
        postern.wait_log("relay-connected", tls=re.compile("^TLSv1.3 TLS_"))


def test_ciphers_and_protocols_are_those_of_the_action(make, names, authority):
    context = authority.context("smart.test")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    cipher = "ECDHE-ECDSA-AES256-GCM-SHA384"
    with Peer(port=None, context=context) as peer:
        names.set(f"host-record=smart.test,{peer.address}")
        postern = make(f'{smart(peer)} tls no-verify ciphers "{cipher}"')
        send(postern, "x@far.test")
        peer.wait_messages(1)
        assert postern.wait_log("relay-connected")["tls"].startswith(f"TLSv1.2 {cipher}")
        text = postern.config_file.read_text()
        postern.config_file.write_text(text.replace("no-verify", "no-verify protocols tlsv1.3"))
        postern.reload()
        send(postern, "x@far.test")
        assert "TLS failed" in postern.wait_log("delivery-deferred")["reply"]
        assert len(peer.messages) == 1
        peer.problems.clear()  # a handshake isn't a line


def test_mail_goes_without_tls_when_the_handshake_breaks(make, names, authority):
    with Peer(port=None, context=authority.context("smart.test")) as peer:
        peer.on("STARTTLS", b"220 go ahead\r\n", CLOSE)
        names.set(f"host-record=smart.test,{peer.address}")
        postern = make(smart(peer))
        send(postern, "x@far.test")
        (message,) = peer.wait_messages(1)
        assert message.session.tls is None
        peer.problems.clear()  # a handshake isn't a line


@pytest.mark.parametrize("scheme", ["smtp+tls", "smtps"])
def test_password_goes_over_verified_tls_only(make, names, authority, scheme):
    with Peer(port=None, context=authority.context("smart.test"), implicit_tls=scheme == "smtps",
            credentials=("me", "pass:word")) as peer:
        names.set(f"host-record=smart.test,{peer.address}")
        postern = make(smart(peer, scheme, "work@") + ' auth { work = "me:pass:word" } ca test')
        send(postern, "x@far.test")
        (message,) = peer.wait_messages(1)
        assert message.session.user == "me"
        assert message.session.tls
        assert "pass:word" not in postern.log_text()


def test_login_by_two_questions(make, names, authority):
    with Peer(port=None, context=authority.context("smart.test"), credentials=("me", "secret"),
            mechanisms="LOGIN") as peer:
        names.set(f"host-record=smart.test,{peer.address}")
        postern = make(smart(peer, "smtp+tls", "work@") + ' auth { work = "me:secret" } ca test')
        send(postern, "x@far.test")
        (message,) = peer.wait_messages(1)
        assert message.session.user == "me"


def test_wrong_password_keeps_the_mail(make, names, authority):
    with Peer(port=None, context=authority.context("smart.test"),
            credentials=("me", "secret")) as peer:
        names.set(f"host-record=smart.test,{peer.address}")
        postern = make(smart(peer, "smtp+tls", "work@") + ' auth { work = "me:wrong" } ca test')
        postern.allow("refuses our credentials")
        send(postern, "x@far.test")
        postern.wait_log("delivery-deferred", to="x@far.test", reply=re.compile("4.7.8"))
        assert not peer.messages
        assert "wrong" not in re.sub("wrong version", "", postern.log_text())


@pytest.mark.parametrize("name, days", [("other.test", 5), ("smart.test", -1)],
    ids=["another name", "expired"])
def test_bad_certificate_keeps_the_mail(make, names, authority, name, days):
    with Peer(port=None, context=authority.context(name, days)) as peer:
        names.set(f"host-record=smart.test,{peer.address}")
        postern = make(smart(peer) + " tls ca test")
        send(postern, "x@far.test")
        postern.wait_log("delivery-deferred", to="x@far.test",
            reply=re.compile("certificate isn't good"))
        assert not peer.messages


def test_no_tls_where_it_is_required_keeps_the_mail(make, names, authority):
    with Peer(port=None) as peer:
        names.set(f"host-record=smart.test,{peer.address}")
        postern = make(smart(peer) + " tls no-verify")
        send(postern, "x@far.test")
        postern.wait_log("delivery-deferred", to="x@far.test", reply=re.compile("offers no TLS"))
        assert not peer.messages


def test_large_mail_over_tls_arrives_whole(make, names, authority):
    with Peer(port=None, context=authority.context("smart.test"),
            extensions=("PIPELINING", "CHUNKING")) as peer:
        names.set(f"host-record=smart.test,{peer.address}")
        postern = make(smart(peer) + " tls ca test")
        body = "".join(f"line {number} {'.' * (number % 70)}\r\n" for number in range(40000))
        send(postern, "x@far.test", body=body)
        (message,) = peer.wait_messages(1)
        assert message.data.endswith(body.encode())
        assert any(line.startswith("BDAT") for line in message.session.lines)


def test_authorities_that_change_are_used(make, names, authority):
    with Peer(port=None, context=authority.context("smart.test")) as peer:
        names.set(f"host-record=smart.test,{peer.address}")
        good = authority.file.read_text()
        other = authority.folder / "other"
        other.mkdir()
        Authority(other)
        authority.file.write_text((other / "ca.pem").read_text())
        postern = make(smart(peer) + " tls ca test")
        send(postern, "x@far.test")
        postern.wait_log("delivery-deferred", to="x@far.test")
        authority.file.write_text(good)
        postern.smtpctl("reload")
        peer.wait_messages(1)
