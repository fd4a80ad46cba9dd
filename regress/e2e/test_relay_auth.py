"""The relay logs in by SCRAM: to a submission listener of ours, and to servers that don't know the
password or say what no server should."""

import base64
import hashlib
import hmac
import os
import re
import ssl

import pytest

from postern import free_port
from smtp_peer import Peer
from test_relay import send
from test_relay_tls import Authority, authority, make, names, smart  # noqa: F401
from test_tls import Pair

PASSWORD = "correct, = horse"
ITERATIONS = 4096


def digest(key, text):
    return hmac.new(key, text, hashlib.sha256).digest()


def b64(data):
    return base64.b64encode(data).decode()


class Scram:
    """A server's side, for peer.always("AUTH", Scram()): what a test sets is said instead of what is
    right."""

    def __init__(self, iterations=ITERATIONS, nonce=None, password=PASSWORD, signature=None,
            is_short=False):
        self.iterations, self.nonce, self.password = iterations, nonce, password
        self.signature, self.is_short = signature, is_short
        self.seen = None  # header, and the binding behind it

    def __call__(self, session):
        mechanism, first = session.lines[-1].split()[1:]
        assert mechanism.startswith("SCRAM-SHA-256")
        first = base64.b64decode(first).decode()
        self.flag, _, bare = first.split(",", 2)
        fields = dict(field.split("=", 1) for field in bare.split(","))
        nonce = self.nonce or fields["r"] + b64(os.urandom(9))
        salt = os.urandom(16)
        answer = f"r={nonce},s={b64(salt)},i={self.iterations}"
        if self.is_short:
            return "235 2.7.0 come in"
        session.say(f"334 {b64(answer.encode())}")
        final = base64.b64decode(session.line()).decode()
        without, _, proof = final.rpartition(",p=")
        self.seen = base64.b64decode(without.split(",")[0][2:])
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(), salt, self.iterations)
        text = f"{bare},{answer},{without}".encode()
        key = digest(salted, b"Client Key")
        signature = digest(hashlib.sha256(key).digest(), text)
        if bytes(a ^ b for a, b in zip(key, signature)) != base64.b64decode(proof):
            return "535 5.7.8 who are you?"
        signature = self.signature or digest(digest(salted, b"Server Key"), text)
        session.say(f"334 {b64(b'v=' + b64(signature).encode())}")
        assert session.line() == ""
        session.user = fields["n"]
        return "235 2.7.0 welcome"


def submit_to(make, names, peer, password=PASSWORD, options=""):  # noqa: F811
    names.set(f"host-record=smart.test,{peer.address}")
    quoted = password.replace('"', '\\"')
    return make(smart(peer, "smtp+tls", "work@") + f' auth {{ work = "me:{quoted}" }} ca test {options}')


def test_our_relay_logs_in_to_our_listener_bound_to_the_connection(make, make_postern, names,  # noqa: F811
        authority, tmp_path):  # noqa: F811
    authority.context("smart.test")
    certificate, key = tmp_path / "smart.test5.pem", tmp_path / "smart.test5.key"
    key.chmod(0o600)
    port = free_port()
    server = make_postern(extra=f'pki a cert "{certificate}"\npki a key "{key}"\n'
        f"listen on 127.0.0.1 port {port} tls-require auth pki a protocols tlsv1.3\n")
    server.add_domain("far.test")
    server.add_user("x@far.test")
    names.set("host-record=smart.test,127.0.0.1")
    relay = make(f'host "smtp+tls://work@smart.test:{port}" ca test mail-from "bob@example.test" '
        'auth { work = "bob@example.test:correct horse battery" }')
    send(relay, "x@far.test")
    server.wait_mail("x@far.test")
    server.wait_log("auth-ok", mechanism="SCRAM-SHA-256-PLUS", user="bob@example.test")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("plus", [True, False], ids=["plus", "plain"])
def test_a_login_is_bound_where_the_server_can(make, names, authority, version, plus):  # noqa: F811
    context = authority.context("smart.test")
    context.minimum_version = context.maximum_version = version
    mechanisms = ("SCRAM-SHA-256-PLUS " if plus else "") + "SCRAM-SHA-256 PLAIN LOGIN"
    with Peer(port=None, context=context, credentials=("me", PASSWORD), mechanisms=mechanisms) as peer:
        server = Scram()
        peer.always("AUTH", server)
        postern = submit_to(make, names, peer)
        send(postern, "x@far.test")
        (message,) = peer.wait_messages(1)
        assert message.session.user == "me"
        (line,) = (line for line in message.session.lines if line.startswith("AUTH"))
        assert line.split()[1] == mechanisms.split()[0]
        if not plus:
            assert server.seen == b"y,,"
        elif version == ssl.TLSVersion.TLSv1_2:
            der = ssl.PEM_cert_to_DER_cert((authority.folder / "smart.test5.pem").read_text())
            assert server.seen == b"p=tls-server-end-point,," + hashlib.sha256(der).digest()
        else:
            # What was exported, our own listener checks.
            assert server.seen.startswith(b"p=tls-exporter,,") and len(server.seen) == 16 + 32


@pytest.mark.parametrize("server, reason", [
    (Scram(iterations=1), "iterations"),
    (Scram(iterations=2 ** 31), "iterations"),
    (Scram(nonce="another"), "nonce isn't ours"),
    (Scram(signature=bytes(32)), "doesn't know the password"),
    (Scram(is_short=True), "without a proof"),
    (lambda session: "334 !!!", "no base64"),
    (lambda session: "334 " + "A" * 100000, "malformed"),
], ids=["one iteration", "very many", "nonce", "signature", "no proof", "no base64", "endless"])
def test_a_server_that_proves_nothing_gets_no_mail(make, names, authority, server, reason):  # noqa: F811
    with Peer(port=None, context=authority.context("smart.test"), credentials=("me", PASSWORD),
            mechanisms="PLAIN SCRAM-SHA-256") as peer:
        peer.always("AUTH", server)
        postern = submit_to(make, names, peer)
        send(postern, "x@far.test")
        postern.wait_log("delivery-deferred", to="x@far.test", reply=re.compile(reason))
        assert not peer.messages
        assert not any(line.split()[0] == "MAIL" for session in peer.sessions for line in session.lines)
        assert PASSWORD not in postern.log_text()


def test_a_wrong_password_is_told_and_sent_by_no_other_mechanism(make, names, authority):  # noqa: F811
    with Peer(port=None, context=authority.context("smart.test"), credentials=("me", PASSWORD),
            mechanisms="PLAIN SCRAM-SHA-256 LOGIN") as peer:
        peer.always("AUTH", Scram())
        postern = submit_to(make, names, peer, password="wrong")
        postern.allow("refuses our credentials")
        send(postern, "x@far.test")
        postern.wait_log("delivery-deferred", to="x@far.test", reply=re.compile("4.7.8"))
        assert not peer.messages
        for session in peer.sessions:
            assert all(line.split()[1] == "SCRAM-SHA-256" for line in session.lines
                if line.startswith("AUTH"))
