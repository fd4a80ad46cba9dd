"""The sender of mail that is forwarded becomes an address of ours, and what comes back to it goes to the
sender: with the original addresses as others make them, and Debian's postsrsd as the other forwarder."""

import base64
import hashlib
import hmac
import re
import socket
import subprocess
import time

import pytest

from postern import free_port, wait_for
from smtp_peer import Peer
from test_sieve import set_script

pytestmark = pytest.mark.root

KEY = "the secret of example.test"
DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"


def srs0(sender, domain="example.test", key=KEY, age=0):
    """As libsrs2 makes it."""
    user, host = sender.split("@")
    day = int(time.time()) // 86400 - age
    stamp = DIGITS[day // 32 % 32] + DIGITS[day % 32]
    digest = hmac.new(key.encode(), (stamp + host + user).lower().encode(), hashlib.sha1).digest()
    return f"SRS0={base64.b64encode(digest)[:4].decode()}={stamp}={host}={user}@{domain}"


@pytest.fixture
def peer():
    with Peer(port=None) as server:
        yield server


@pytest.fixture
def make(make_postern, peer):
    def build(extra="", options="srs", listen=None):
        postern = make_postern(listen=listen, rules=f"""
action "in" maildir virtual <accounts>
action "out" relay host "smtp+notls://{peer.address}:{peer.port}" {options}
match from any for domain <accounts> action "in"
match from any auth for any action "out"
match for any action "out"
""", extra=f'srs key "{KEY}"\nqueue retry-first 1s\nqueue retry-max 2s\n' + extra)
        postern.add_alias("away@example.test", "carol@far.test")
        postern.add_alias("both@example.test", "carol@far.test", "alice@example.test", "dan@far.test")
        return postern
    return build


def send(postern, *recipients, sender="joe@sender.test"):
    postern.send(list(recipients), sender=sender)


def test_senders_of_forwarded_mail_are_rewritten(make, peer):
    """For all whom an alias leads to in one transaction; not in our own mailbox, nor where the sender is
    of the alias's domain, or there is none."""
    postern = make()
    send(postern, "both@example.test")
    (message,) = peer.wait_messages(1)
    assert message.sender in (srs0("joe@sender.test"), srs0("joe@sender.test", age=1))
    assert message.recipients == ["carol@far.test", "dan@far.test"]
    assert postern.wait_log("sender-rewritten", from_="joe@sender.test")["as"] == message.sender
    (mail,) = postern.wait_mail("alice@example.test")
    assert mail.data.startswith(b"Return-Path: <joe@sender.test>\n")
    send(postern, "away@example.test", sender="alice@example.test")
    send(postern, "away@example.test", sender="")
    assert sorted(m.sender for m in peer.wait_messages(3)[1:]) == ["", "alice@example.test"]


def test_only_where_the_action_says_so(make, peer):
    postern = make(options="")
    send(postern, "away@example.test")
    assert peer.wait_messages(1)[0].sender == "joe@sender.test"


def test_what_is_not_forwarded_keeps_its_sender(make, peer):
    postern = make()
    send(postern, "dan@far.test", "away@example.test", "eve@far.test")
    messages = peer.wait_messages(2)
    assert sorted((m.sender[:5], m.recipients, m.data[:13]) for m in messages) == [
        ("SRS0=", ["carol@far.test"], b"Delivered-To:"),
        ("joe@s", ["dan@far.test", "eve@far.test"], b"Received: fro")]


def test_a_long_sender_is_kept(make, peer):
    postern = make()
    sender = "a-very-long-address-of-a-mailing-list-with-numbers-0123456789@lists.sender.test"
    send(postern, "away@example.test", sender=sender)
    assert peer.wait_messages(1)[0].sender == sender
    postern.wait_log("sender-not-rewritten", from_=sender)


def test_mail_that_comes_back_goes_to_the_sender(make, peer):
    postern = make(extra='srs key backup "an older one"\n')
    for sender in (srs0("joe@sender.test"), srs0("joe@sender.test", age=3).lower(),
            srs0("joe@sender.test", key="an older one")):
        send(postern, sender, sender="")
    for message in peer.wait_messages(3):
        assert message.recipients == ["joe@sender.test"] and message.sender == ""
    said = postern.smtpctl("explain", "--to", srs0("joe@sender.test")).stdout
    assert "leads to joe@sender.test" in said


@pytest.mark.parametrize("address, words", [
    (srs0("joe@sender.test", key="a guess"), "was not made here"),
    (srs0("joe@sender.test").replace("joe", "jim"), "was not made here"),
    ("SRS0=@example.test", "was not made here"),
    ("SRS1=aaaa=sender.test==bbbb=cc=d=e@example.test", "was not made here"),
    (srs0("joe@sender.test", age=6), "has expired"),
    (srs0("joe@sender.test", age=-3), "has expired"),
])
def test_forged_and_old_ones_are_refused(make, address, words):
    postern = make()
    with postern.smtp() as client:
        client.ehlo()
        client.mail("")
        code, text = client.rcpt(address)
        assert code == 550 and words in text.decode()


def test_a_bounce_of_forwarded_mail_comes_back(make, peer):
    """The next server refuses it: our own report goes to the sender. One that it sends to the sender as
    we said it does as well."""
    postern = make()
    peer.on("RCPT", "550 5.1.1 no carol here")
    send(postern, "away@example.test")
    (report,) = peer.wait_messages(1)
    assert report.recipients == ["joe@sender.test"] and report.sender == ""
    assert b"no carol here" in report.data


class Postsrsd:
    """Answers "get ADDRESS" on two ports: forward, and back."""

    def __init__(self, program, folder, domain):
        secret = folder / "postsrsd.secret"
        secret.write_text("another's secret\n")
        self.ports = free_port(), free_port()
        self.process = subprocess.Popen([program, "-f", str(self.ports[0]), "-r", str(self.ports[1]),
            "-d", domain, "-s", secret, "-l", "127.0.0.1"], stdin=subprocess.DEVNULL)

    def ask(self, port, address):
        def connected():
            try:
                return socket.create_connection(("127.0.0.1", port), 5)
            except OSError:
                return None
        with wait_for(connected, what="postsrsd answers") as connection:
            connection.sendall(f"get {address}\n".encode())
            code, words = connection.makefile().readline().split(" ", 1)
        assert code == "200", words
        return words.strip()

    def forward(self, address):
        return self.ask(self.ports[0], address)

    def back(self, address):
        return self.ask(self.ports[1], address)


@pytest.fixture
def postsrsd(tmp_path, tool):
    server = Postsrsd(tool("postsrsd"), tmp_path, "first.test")
    yield server
    server.process.kill()
    server.process.wait()


def test_two_forwarders_lead_back(make, peer, postsrsd):
    """What postsrsd has rewritten, and is forwarded here, comes back here, then there, then to who sent
    it; and the other way round."""
    postern = make()
    first = postsrsd.forward("joe@sender.test")
    send(postern, "away@example.test", sender=first)
    (message,) = peer.wait_messages(1)
    assert re.match(r"SRS1=....=first\.test==", message.sender)
    send(postern, message.sender, sender="")
    assert peer.wait_messages(2)[1].recipients == [first]
    assert postsrsd.back(first) == "joe@sender.test"

    send(postern, "away@example.test")
    ours = peer.wait_messages(3)[2].sender
    second = postsrsd.forward(ours)
    assert second.startswith("SRS1=")
    assert postsrsd.back(second) == ours
    send(postern, ours, sender="")
    assert peer.wait_messages(4)[3].recipients == ["joe@sender.test"]


def test_scripts_that_redirect_do_so_too(make, peer):
    """Where it fails, the report goes to the sender by way of ours."""
    postern = make()
    set_script(postern, "bob@example.test", 'redirect "carol@far.test";')
    send(postern, "bob@example.test")
    (message,) = peer.wait_messages(1)
    assert message.sender.startswith("SRS0=") and message.recipients == ["carol@far.test"]
    peer.on("RCPT", "550 5.1.1 no carol here")
    postern.send("bob@example.test", "Message-ID: <2@sender.test>\r\nSubject: two\r\n\r\nx\r\n",
        sender="joe@sender.test")
    report = peer.wait_messages(2)[1]
    assert report.recipients == ["joe@sender.test"] and report.sender == ""
    assert b"no carol here" in report.data
