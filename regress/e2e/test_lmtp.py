"""Mail for users whose mailboxes another server keeps, by LMTP over a Unix socket or TCP: who is named
there, one session for many messages, and what comes of each recipient."""

import os
import re
import socket
import tempfile
import threading

import pytest

from postern import wait_for
from smtp_peer import CLOSE, RESET, Peer

pytestmark = pytest.mark.root


@pytest.fixture
def place():
    """A folder whose path is short enough for a Unix socket's."""
    with tempfile.TemporaryDirectory(prefix="lmtp-", dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        yield folder


@pytest.fixture
def make(make_postern):
    def build(action, extra=""):
        return make_postern(rules=f"""
action "in" lmtp {action}
action "own" maildir virtual <accounts>
action "out" relay
match from any for domain "users.test" action "in"
match from any for domain <accounts> action "own"
match for any action "out"
""", extra="queue retry-first 1s\nqueue retry-max 2s\n" + extra)
    return build


def send(postern, *recipients, sender="alice@example.test", body="hello\r\n", refused=()):
    with postern.smtp() as client:
        assert sorted(client.sendmail(sender, recipients,
            f"From: {sender}\r\nSubject: x\r\n\r\n{body}".encode())) == sorted(refused)


USERBASE = "userbase { bob = 2000:2000:/home/bob, ann = 2001:2001:/home/ann }"


def test_users_are_named_and_each_is_answered(make, place):
    """One transaction, over a socket that only root may connect to; a name that isn't there is refused
    before, an alias leads to its user."""
    with Peer(path=f"{place}/lmtp", lmtp=True) as peer:
        os.chmod(f"{place}/lmtp", 0o600)
        peer.on("TEXT", "250 2.0.0 ok", "552 5.2.2 mailbox full")
        postern = make(f'"{place}/lmtp" {USERBASE} alias {{ robert = bob, both = "bob, ann" }}')
        with postern.smtp() as client:
            client.ehlo()
            client.mail("alice@example.test")
            assert client.rcpt("nobody@users.test")[0] == 550
        send(postern, "robert@users.test", "ann+detail@users.test", "bob@users.test")
        (message,) = peer.wait_messages(1)
        assert message.recipients == ["bob", "ann"]
        assert message.sender == "alice@example.test"
        assert message.session.lines[0] == "LHLO mx.example.test"
        assert message.data.startswith(b"Received: ")
        line = postern.wait_log("delivered", to="bob@users.test")
        assert line["host"] == "localhost" and line["address"] == f"{place}/lmtp"
        (mail,) = postern.wait_mail("alice@example.test")
        assert b"mailbox full" in mail.data and b"ann+detail@users.test" in mail.data
        assert place.encode() not in mail.data


def test_rcpt_to_names_addresses(make, place):
    """The last ones that aliases led to, with their details, however many are the same user's."""
    with Peer(path=f"{place}/lmtp", lmtp=True) as peer:
        postern = make(f'"{place}/lmtp" rcpt-to userbase {{ box = 2000:2000:/box }} '
            'virtual { "@users.test" = box, "chief@users.test" = "ann@users.test" }')
        send(postern, "chief@users.test", "ann@users.test", "Bob+x@users.test")
        (message,) = peer.wait_messages(1)
        assert message.recipients == ["ann@users.test", "Bob+x@users.test"]


def test_users_of_the_accounts_are_named_by_their_addresses(make, place):
    with Peer(path=f"{place}/lmtp", lmtp=True) as peer:
        postern = make(f'"{place}/lmtp" virtual <accounts>')
        postern.add_domain("users.test")
        postern.add_user("bob@users.test")
        send(postern, "bob+x@users.test", "no@users.test", refused=["no@users.test"])
        (message,) = peer.wait_messages(1)
        assert message.recipients == ["bob@users.test"]


def test_a_connection_serves_many_messages(make, place):
    for options in ({"path": f"{place}/lmtp"}, {"port": None}):
        with Peer(lmtp=True, **options) as peer:
            postern = make(f'"{peer.path or f"{peer.address}:{peer.port}"}" {USERBASE}')
            for number in range(5):
                send(postern, "bob@users.test", body=f"{number}\r\n")
                peer.wait_messages(number + 1)
            assert len(peer.sessions) == 1


def test_a_long_line_is_delivered_as_it_is(make, place):
    with Peer(path=f"{place}/lmtp", lmtp=True) as peer:
        postern = make(f'"{place}/lmtp" {USERBASE}')
        send(postern, "bob@users.test", body="x" * 5000 + "\r\n")
        (message,) = peer.wait_messages(1)
        assert b"x" * 5000 in message.data


def test_a_socket_that_is_not_there_puts_mail_off(make, place):
    """Or refuses; the log, and who looks at the queue, hear why, and it goes when it can."""
    postern = make(f'"{place}/lmtp" {USERBASE}')
    send(postern, "bob@users.test")
    line = postern.wait_log("delivery-deferred", to="bob@users.test")
    assert f"can't connect to {place}/lmtp: No such file or directory" in line["reply"]
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{place}/lmtp")
    postern.wait_log("delivery-deferred",
        reply=re.compile(f"can't connect to {place}/lmtp: Connection refused"))
    os.unlink(f"{place}/lmtp")
    with Peer(path=f"{place}/lmtp", lmtp=True) as peer:
        peer.wait_messages(1)
        postern.wait_log("delivered", to="bob@users.test")
    assert f"<-> {place}/lmtp -" in postern.smtpctl("show", "routes").stdout


def test_explain_says_where_and_for_whom(make, place):
    postern = make(f'"{place}/lmtp" {USERBASE}')
    said = postern.smtpctl("explain", "--to", "bob@users.test").stdout
    assert f"lmtp: mail for bob@users.test is delivered by LMTP to {place}/lmtp, for bob" in said


# HOSTILE 26

@pytest.mark.parametrize("last", ["close", "reset", "421 4.3.0 going down"])
def test_those_answered_before_the_end_are_done(make, place, last):
    """The second reply to the text doesn't come: who has his isn't sent it again, the other is."""
    with Peer(path=f"{place}/lmtp", lmtp=True) as peer:
        peer.on("TEXT", "250 2.0.0 ok", {"close": CLOSE, "reset": RESET}.get(last, last))
        postern = make(f'"{place}/lmtp" {USERBASE}')
        send(postern, "bob@users.test", "ann@users.test")
        messages = peer.wait_messages(2)
        assert [message.recipients for message in messages] == [["bob", "ann"], ["ann"]]
        postern.wait_log("delivery-deferred", to="ann@users.test")
        postern.wait_log("delivered", to="ann@users.test")
        assert len(postern.log_lines("delivered", to="bob@users.test")) == 1


def test_some_are_put_off(make, place):
    with Peer(path=f"{place}/lmtp", lmtp=True) as peer:
        peer.on("RCPT", "250 2.1.5 ok", "450 4.2.1 locked")
        peer.on("TEXT", "450 4.3.1 no space")
        postern = make(f'"{place}/lmtp" {USERBASE}')
        send(postern, "bob@users.test", "ann@users.test")
        wait_for(lambda: sorted(r for m in peer.messages for r in m.recipients) == ["ann", "bob"])
        postern.wait_log("delivered", to="bob@users.test")
        postern.wait_log("delivered", to="ann@users.test")


def test_replies_without_end_and_greetings_that_refuse(make, place):
    with Peer(path=f"{place}/lmtp", lmtp=True) as peer:
        peer.on("GREETING", "421 4.3.2 not now", b"220 " + b"x" * 2**20 + b"\r\n")
        peer.on("TEXT", b"250-" + b"y" * 2**20 + b"\r\n" + b"250-z\r\n" * 2**17 + b"250 ok\r\n")
        postern = make(f'"{place}/lmtp" {USERBASE}')
        send(postern, "bob@users.test")
        postern.wait_log("delivered", to="bob@users.test")
        assert len(peer.messages) <= 2


def test_a_server_killed_in_the_middle(make, place):
    """Nothing of its replies came: the mail is sent again when the server is back."""
    reached = threading.Event()

    def hang(session):
        reached.set()
        session.peer.ended.wait(30)
        return CLOSE

    with Peer(path=f"{place}/lmtp", lmtp=True) as peer:
        peer.always("TEXT", hang)
        postern = make(f'"{place}/lmtp" {USERBASE}')
        send(postern, "bob@users.test", "ann@users.test")
        assert reached.wait(15)
    os.unlink(f"{place}/lmtp")
    postern.wait_log("delivery-deferred", to="ann@users.test")
    with Peer(path=f"{place}/lmtp", lmtp=True) as peer:
        wait_for(lambda: sorted(r for m in peer.messages for r in m.recipients) == ["ann", "bob"])


def test_reload_changes_the_socket(make, place):
    """Mail in the queue goes where its action now says."""
    postern = make(f'"{place}/old" {USERBASE}')
    send(postern, "bob@users.test")
    postern.wait_log("delivery-deferred", to="bob@users.test")
    with Peer(path=f"{place}/new", lmtp=True) as peer:
        postern.rules = postern.rules.replace(f"{place}/old", f"{place}/new")
        postern.write_config()
        postern.reload()
        peer.wait_messages(1)
