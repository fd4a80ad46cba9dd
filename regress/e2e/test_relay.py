"""Mail to other servers: which one gets it, what is made of what they say, and what comes back. The
other servers are smtp_peer's, at addresses of 127.0.0.0/8 and port 25; DNS is dnsmasq's."""

import re
import socket
import struct
import subprocess
import time

import pytest

from postern import free_port, wait_for
from smtp_peer import CLOSE, RESET, Peer, loopback_address, silent_port

pytestmark = pytest.mark.root  # port 25

RULES = """
action "in" maildir virtual <accounts>
action "out" relay
match from any for domain <accounts> action "in"
match from any for any action "out"
"""


class Names:
    """dnsmasq: set() says what it knows, in its own words, and starts it (again)."""

    def __init__(self, program, folder):
        self.program, self.folder = program, folder
        self.port = free_port()
        self.process = None

    def set(self, *lines):
        self.stop()
        config = self.folder / "dnsmasq.conf"
        config.write_text("\n".join([f"port={self.port}", "listen-address=127.0.0.1",
            "bind-interfaces", "no-resolv", "no-hosts", "no-daemon", "local=/test/",
            "local=/in-addr.arpa/", f"pid-file={self.folder}/pid", "user=", "group=", *lines]) + "\n")
        self._start(config)
        wait_for(lambda: self._answers(config), what="dnsmasq answers")

    def _start(self, config):
        self.process = subprocess.Popen([self.program, "-C", str(config)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def _answers(self, config):
        if self.process.poll() is not None:
            said = self.process.stderr.read()
            # A resolver asks from any UDP port, for a moment: it may just be this one.
            assert b"Address already in use" in said, said
            self.stop()
            self._start(config)
        query = struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + b"\1x\4test\0\0\1\0\1"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.settimeout(0.2)
            try:
                probe.sendto(query, ("127.0.0.1", self.port))
                return probe.recv(512)
            except OSError:
                return None

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process.stderr.close()


@pytest.fixture
def names(tool, tmp_path):
    server = Names(tool("dnsmasq"), tmp_path)
    yield server
    server.stop()


@pytest.fixture
def make(make_postern, names):
    def build(rules=RULES, extra=""):
        return make_postern(rules=rules, extra=f"resolver nameserver 127.0.0.1@{names.port}\n"
            "queue retry-first 1s\nqueue retry-max 2s\n" + extra)
    return build


def send(postern, *recipients, sender="alice@example.test", body="hello\r\n", subject="x"):
    with postern.smtp() as client:
        client.sendmail(sender, recipients,
            f"From: {sender}\r\nSubject: {subject}\r\n\r\n{body}".encode())


def bounce(postern, mailbox="alice@example.test"):
    """The DSN in the sender's mailbox."""
    (mail,) = postern.wait_mail(mailbox)
    assert mail.message["From"].startswith(("MAILER-DAEMON", "Mailer-Daemon", "postmaster")) or \
        mail.message.get_content_type() == "multipart/report"
    return mail.data.decode("utf-8", "replace").replace("\r\n", "\n")


def mx(domain, *peers):
    """dnsmasq's lines for a domain whose MXs are these, each less preferred than the one before."""
    lines = []
    for number, peer in enumerate(peers):
        address = getattr(peer, "address", peer)
        lines += [f"mx-host={domain},mx{number}.{domain},{10 * (number + 1)}",
            f"host-record=mx{number}.{domain},{address}"]
    return lines


def test_mail_goes_to_the_mx(make, names):
    with Peer() as peer:
        names.set(*mx("far.test", peer))
        postern = make()
        send(postern, "x@far.test", "y@far.test", body=".dot\r\n\r\nend")
        (message,) = peer.wait_messages(1)
        assert message.sender == "alice@example.test"
        assert message.recipients == ["x@far.test", "y@far.test"]
        assert message.data.endswith(b"\r\n\r\n.dot\r\n\r\nend\r\n")
        assert message.data.startswith(b"Received: ")
        assert message.session.lines[0] == "EHLO mx.example.test"
        postern.wait_log("delivered", to="x@far.test")
        postern.wait_log("delivered", to="y@far.test")


def test_connections_are_kept_for_the_next_message(make, names):
    with Peer() as peer:
        names.set(*mx("far.test", peer), *mx("other.test", peer.address))
        postern = make()
        for number in range(1, 4):
            send(postern, "x@far.test", subject=str(number))
            peer.wait_messages(number)
        assert len(peer.sessions) == 1


def test_domain_without_mx_is_its_own_host(make, names):
    with Peer() as peer:
        names.set(f"host-record=bare.test,{peer.address}")
        postern = make()
        send(postern, "x@bare.test")
        peer.wait_messages(1)


def test_address_literal_is_where_it_says(make, names):
    with Peer() as peer:
        names.set()
        postern = make()
        send(postern, f"x@[{peer.address}]")
        peer.wait_messages(1)


def test_only_addresses_of_the_wanted_kind_are_connected_to(make, names):
    with Peer() as peer:
        names.set(*mx("far.test", peer), *mx("six.test", peer))
        postern = make(extra="mta limit inet4\nmta limit for domain six.test inet6\n")
        send(postern, "x@far.test", "y@six.test")
        (message,) = peer.wait_messages(1)
        assert message.recipients == ["x@far.test"]
        text = bounce(postern)
        assert "mx0.six.test has no address of IPv6" in text and "y@six.test" in text
        told = postern.smtpctl("explain", "--to", "y@six.test").stdout
        assert "it has no IPv6 address (mta limit)" in told


@pytest.mark.parametrize("kind", ["nobody", "silent", "no address"])
def test_dead_mx_first(make, names, kind):
    dead = loopback_address()
    listener = silent_port(dead) if kind == "silent" else None
    with Peer() as peer:
        if kind == "no address":
            names.set("mx-host=far.test,mx0.far.test,10", "mx-host=far.test,mx1.far.test,20",
                f"host-record=mx1.far.test,{peer.address}")
        else:
            names.set(*mx("far.test", dead, peer))
        if kind == "silent":
            # Closed after a while; the greeting itself is waited for for minutes.
            postern = make()
            send(postern, "x@far.test")
            connection, _ = listener.accept()
            connection.close()
        else:
            postern = make()
            send(postern, "x@far.test")
        peer.wait_messages(1)
        assert postern.wait_log("delivered", to="x@far.test")
    if listener:
        listener.close()


@pytest.mark.parametrize("what, reply", [
    ("GREETING", "421 4.3.2 busy"), ("GREETING", "554 5.3.2 not here"), ("GREETING", CLOSE),
    ("GREETING", RESET), ("EHLO", CLOSE), ("MAIL", "451 4.3.0 later"), ("RCPT", CLOSE),
    ("RCPT", "421 4.3.2 enough"), ("DATA", CLOSE), ("TEXT", "421 4.3.2 going down"),
    ("GREETING", b"SSH-2.0-OpenSSH_9.2\r\n"), ("EHLO", b"250-again\r\n" * 30000),
    ("MAIL", "354 go ahead"), ("DATA", "250 ok"), ("MAIL", b"\xff\xfe\x00\r\n")],
    ids=["421", "554", "close", "reset", "EHLO close", "MAIL 451", "RCPT close", "RCPT 421",
        "DATA close", "TEXT 421", "no SMTP", "endless EHLO", "354 to MAIL", "250 to DATA", "junk"])
def test_next_mx_within_the_same_attempt(make, names, what, reply):
    with Peer(name="first.far.test") as first, Peer(name="second.far.test") as second:
        first.always(what, reply)
        names.set(*mx("far.test", first, second))
        postern = make()
        send(postern, "x@far.test")
        second.wait_messages(1)
        postern.wait_log("delivered", to="x@far.test")
        assert not postern.log_lines("delivery-deferred")
        assert len(first.sessions) >= 1


def test_greylisted_mail_comes_again(make, names):
    with Peer() as peer, Peer() as second:
        peer.on("RCPT", "450 4.7.1 greylisted, \x01come again")
        names.set(*mx("far.test", peer, second))
        postern = make()
        send(postern, "x@far.test")
        postern.wait_log("delivery-deferred", to="x@far.test", reply=re.compile("450 4.7.1"))
        peer.wait_messages(1)
        postern.wait_log("delivered", to="x@far.test")
        assert not second.sessions


def test_refused_recipient_comes_back_and_the_other_arrives(make, names):
    with Peer() as peer:
        peer.on("RCPT", "250 2.1.5 ok", "550-5.1.1 no such user\n550 5.1.1 \x7f\x01really")
        names.set(*mx("far.test", peer))
        postern = make()
        send(postern, "x@far.test", "nobody@far.test")
        (message,) = peer.wait_messages(1)
        assert message.recipients == ["x@far.test"]
        report = bounce(postern)
        assert "Final-Recipient: rfc822; nobody@far.test" in report
        assert re.search(r"^Status: 5\.1\.1$", report, re.MULTILINE)
        assert "no such user" in report
        assert "\x01" not in report


@pytest.mark.parametrize("what", ["MAIL", "DATA", "TEXT"])
def test_permanent_reply_brings_it_back(make, names, what):
    with Peer() as peer:
        peer.always(what, "554 5.7.1 you are spam")
        names.set(*mx("far.test", peer))
        postern = make()
        send(postern, "x@far.test")
        assert "you are spam" in bounce(postern)
        assert len(peer.sessions) == 1


def test_null_mx_and_unknown_domains_come_back(make, names):
    names.set("dns-rr=null.test,15,000000")
    postern = make()
    send(postern, "x@null.test")
    assert re.search(r"^Status: 5\.1\.10$", bounce(postern), re.MULTILINE)
    send(postern, "x@gone.test", sender="bob@example.test")
    assert "doesn't exist" in bounce(postern, "bob@example.test")


def test_our_own_name_among_the_mxs(make, names):
    with Peer() as peer:
        names.set("mx-host=far.test,mx0.far.test,10", f"host-record=mx0.far.test,{peer.address}",
            "mx-host=far.test,mx.example.test,20", "mx-host=loop.test,mx.example.test,10")
        postern = make()
        send(postern, "x@far.test")
        peer.wait_messages(1)
        send(postern, "x@loop.test")
        assert re.search(r"^Status: 5\.4\.6$", bounce(postern), re.MULTILINE)


def test_our_own_address_is_no_smarthost_and_no_domain(make, names):
    names.set()
    postern = make(lambda postern: RULES.replace('"out" relay',
        f'"out" relay host "[127.0.0.1]:{postern.port}"'))
    send(postern, "x@far.test")
    report = bounce(postern)
    assert re.search(r"^Status: 5\.4\.6$", report, re.MULTILINE)


def test_smarthost_gets_everything(make, names):
    with Peer(port=None) as peer:
        names.set(f"host-record=smart.test,{peer.address}")
        postern = make(RULES.replace('"out" relay',
            f'"out" relay host "smtp+notls://smart.test:{peer.port}"'))
        send(postern, "x@one.test", "y@two.test")
        wait_for(lambda: sum(len(m.recipients) for m in peer.messages) == 2, what="both arrive")


def test_connections_come_from_the_addresses_named_and_say_their_names(make, names):
    with Peer(port=None) as peer:
        names.set(f"host-record=smart.test,{peer.address}")
        postern = make(RULES.replace('"out" relay',
            f'"out" relay host "smtp+notls://smart.test:{peer.port}" src {{ 127.0.0.91, 127.0.0.92 }} '
            'helo-src { 127.0.0.92 = "two.example.test" }'), extra="mta messages-per-session 1\n")
        for number in range(1, 5):
            send(postern, "x@far.test")
            peer.wait_messages(number)
        said = {(session.client, session.lines[0]) for session in peer.sessions}
        assert said == {("127.0.0.91", "EHLO mx.example.test"),
            ("127.0.0.92", "EHLO two.example.test")}


def test_ipv6(make, names):
    with Peer(port=None, address="::1", family=socket.AF_INET6) as peer:
        names.set()
        postern = make(RULES.replace('"out" relay', f'"out" relay host "smtp://[::1]:{peer.port}"'))
        send(postern, "x@far.test")
        (message,) = peer.wait_messages(1)
        assert message.session.client == "::1"


def test_table_of_domains_says_where_to(make, names):
    with Peer(port=None) as first, Peer(port=None) as second, Peer() as third:
        names.set(*mx("three.test", third))
        postern = make(RULES.replace('"out" relay',
            f'"out" relay domain {{ one.test = "smtp://{first.address}:{first.port}", '
            f'"*.two.test" = "smtp://{second.address}:{second.port}" }}'))
        send(postern, "x@one.test", "x@mail.two.test", "x@three.test")
        for peer, domain in ((first, "one.test"), (second, "mail.two.test"), (third, "three.test")):
            (message,) = peer.wait_messages(1)
            assert message.recipients == [f"x@{domain}"]


def test_backup_keeps_to_better_mxs(make, names):
    with Peer() as better, Peer() as worse:
        names.set("mx-host=far.test,a.far.test,10", "mx-host=far.test,backup.example.test,20",
            "mx-host=far.test,b.far.test,30", f"host-record=a.far.test,{better.address}",
            f"host-record=b.far.test,{worse.address}")
        better.on("GREETING", "421 4.3.2 busy")
        postern = make(RULES.replace('"out" relay', '"out" relay backup mx backup.example.test'))
        send(postern, "x@far.test")
        better.wait_messages(1)
        assert not worse.sessions


def test_stop_waits_for_no_server_that_is_silent(make, names):
    with Peer() as peer:
        peer.on("GREETING", 60)
        names.set(*mx("far.test", peer))
        postern = make()
        send(postern, "x@far.test")
        peer.wait_sessions(1)
        begin = time.monotonic()
        postern.stop()
        assert time.monotonic() - begin < 6
        peer.ended.set()


def test_lmtp_answers_each_recipient(make, names):
    with Peer(port=None, lmtp=True) as peer:
        peer.on("TEXT", "250 2.0.0 ok", "552 5.2.2 mailbox full")
        names.set()
        postern = make(RULES.replace('"out" relay',
            f'"out" relay host "lmtp://{peer.address}:{peer.port}"'))
        send(postern, "x@far.test", "full@far.test")
        peer.wait_messages(1)
        postern.wait_log("delivered", to="x@far.test")
        assert "mailbox full" in bounce(postern)


def test_from_one_of_us_to_another(make, make_postern, names):
    """8-bit text, dots, an international address and a wrong one, and the report comes back."""
    names.set()
    there = make_postern(start=False)
    there.write_config("listen on 127.0.0.1 port @PORT@\naction \"in\" maildir virtual <accounts>\n"
        "match from any for domain <accounts> action \"in\"\nsmtp hostname mx.there.test\n")
    there.start()
    there.add_domain("there.test")
    there.add_user("carol@there.test")
    here = make(RULES.replace('"out" relay', f'"out" relay host "smtp://127.0.0.1:{there.port}"'))
    body = "Grüße\r\n.\r\n..\r\n" + "x" * 998 + "\r\nend\r\n"
    with here.smtp() as client:
        client.ehlo()
        client.mail("alice@example.test", ["SMTPUTF8", "BODY=8BITMIME"])
        for recipient in ("carol@there.test", "nobody@there.test"):
            assert client.rcpt(recipient)[0] == 250
        assert client.data(f"From: alice@example.test\r\nSubject: ü\r\n\r\n{body}".encode())[0] == 250
    (mail,) = there.wait_mail("carol@there.test")
    assert mail.body.decode() == body.replace("\r\n", "\n")
    assert "nobody@there.test" in bounce(here)


def test_mail_goes_again_when_the_relay_died_on_it(make, names):
    with Peer() as peer:
        peer.on("TEXT", 30)
        names.set(*mx("far.test", peer))
        postern = make()
        send(postern, "x@far.test")
        peer.wait_sessions(1)
        wait_for(lambda: peer.is_asked("TEXT"), what="the text is there")
        postern.kill("relay")
        peer.wait_messages(1)
        postern.wait_log("delivered", to="x@far.test")


def test_two_hundred_go_to_smtp_sink(make, names, tool):
    names.set()
    port = free_port()
    sink = subprocess.Popen([tool("smtp-sink"), "-c", "-u", "nobody", f"127.0.0.1:{port}", "100"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        postern = make(RULES.replace('"out" relay',
            f'"out" relay host "smtp+notls://127.0.0.1:{port}"'))
        with postern.smtp() as client:
            for number in range(200):
                client.sendmail("alice@example.test", [f"u{number}@far.test"],
                    b"Subject: x\r\n\r\nhello\r\n")
        wait_for(lambda: len(postern.log_lines("delivered")) == 200, 30, "all are delivered")
    finally:
        sink.kill()
        sink.wait()


@pytest.mark.parametrize("option, sender", [("bounces@example.net", "bounces@example.net"),
    ("@example.net", "alice+x@example.net"), ("bounces", "bounces@example.test")],
    ids=["address", "domain", "name"])
def test_another_sender_is_said_but_for_reports(make, names, option, sender):
    with Peer() as peer:
        names.set(*mx("far.test", peer))
        postern = make(rules=RULES.replace('"out" relay', f'"out" relay mail-from "{option}"'))
        send(postern, "x@far.test", sender="alice+x@example.test")
        send(postern, "y@far.test", sender="")
        messages = {message.recipients[0]: message for message in peer.wait_messages(2)}
        assert messages["x@far.test"].sender == sender
        assert messages["y@far.test"].sender == ""


@pytest.mark.parametrize("extensions", [["PIPELINING"], ["PIPELINING", "CHUNKING"]])
def test_lines_that_are_too_long_are_folded_in_the_header(make, names, extensions):
    with Peer(extensions=extensions) as peer:
        names.set(*mx("far.test", peer))
        postern = make()
        many = ", ".join(f"someone{number}@far.test" for number in range(1000))
        with postern.smtp() as client:
            client.sendmail("alice@example.test", ["x@far.test"],
                f"From: alice@example.test\r\nTo: {many}\r\n\r\n{'y' * 998}\r\n".encode())
        (message,) = peer.wait_messages(1)
        lines = message.data.split(b"\r\n")
        assert max(len(line) for line in lines) == 998
        # Unfolded (RFC 5322 2.2.3) it is what was sent.
        assert f"\r\nTo: {many}\r\n".encode() in re.sub(rb"\r\n(?=[ \t])", b"", message.data)


def test_other_lines_that_are_too_long_come_back(make, names):
    with Peer() as peer:
        names.set(*mx("far.test", peer))
        postern = make()
        send(postern, "x@far.test", body="x" * 10000 + "\r\n")
        text = bounce(postern)
        assert "Status: 5.6.0" in text
        assert "a line of the message's text has 10000 bytes" in text
        # The report, which may hold such lines, isn't held up by them.
        with postern.smtp() as client:
            client.sendmail("<>", ["y@far.test"], "Subject: report\r\n\r\n" + "x" * 10000)
        (message,) = peer.wait_messages(1)
        assert b"x" * 10000 in message.data


def test_long_lines_go_as_they_are_where_that_is_wanted(make, names):
    with Peer() as peer:
        names.set(*mx("far.test", peer))
        postern = make(extra="mta no line-limit\n")
        send(postern, "x@far.test", body="x" * 10000 + "\r\n")
        (message,) = peer.wait_messages(1)
        assert b"\r\n" + b"x" * 10000 + b"\r\n" in message.data
