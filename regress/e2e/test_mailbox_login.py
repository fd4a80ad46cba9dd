"""From a TCP connection to the mail in a Maildir: logins by IMAP and POP3, in the clear and by TLS, and
the processes behind them."""

import base64
import hashlib
import imaplib
import os
import poplib
import re
import signal
import socket
import ssl

import pytest

from postern import free_port, wait_for
from test_auth import PASSWORD, USER, Scram
from test_smtp_limits import memory
from test_tls import NAME, folder, rsa  # noqa: F401

BOB = "bob@example.test"


def context():
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


@pytest.fixture
def server(make_postern, rsa):  # noqa: F811
    """Listens for each protocol in the clear, with STARTTLS and with TLS from the first byte."""
    ports = {name: free_port() for name in ("imap", "pop3", "imap tls", "pop3 tls", "imaps", "pop3s")}
    lines = rsa.statements(NAME)
    for name, port in ports.items():
        options = "auth-cleartext" if " " not in name and name[-1] != "s" else f"pki {NAME}"
        lines += f"listen on 127.0.0.1 port {port} {name} {options}\n"
    instance = make_postern(extra=lines)
    instance.ports = ports
    return instance


def imap(server, kind="imap", user=USER, password=PASSWORD):
    port = server.ports[kind]
    if kind == "imaps":
        client = imaplib.IMAP4_SSL("127.0.0.1", port, ssl_context=context(), timeout=20)
    else:
        client = imaplib.IMAP4("127.0.0.1", port, timeout=20)
    if kind == "imap tls":
        assert "LOGINDISABLED" in client.capabilities
        with pytest.raises(imaplib.IMAP4.error, match="PRIVACYREQUIRED"):
            client.login(user, password)
        client.starttls(context())
        assert "STARTTLS" not in client.capabilities
    client.login(user, password)
    return client


def pop3(server, kind="pop3", user=USER, password=PASSWORD):
    port = server.ports[kind]
    if kind == "pop3s":
        client = poplib.POP3_SSL("127.0.0.1", port, context=context(), timeout=20)
    else:
        client = poplib.POP3("127.0.0.1", port, timeout=20)
    if kind == "pop3 tls":
        assert "USER" not in client.capa()
        with pytest.raises(poplib.error_proto, match="STLS"):
            client.user(user)
        client.stls(context())
        assert "STLS" not in client.capa()
    client.user(user)
    client.pass_(password)
    return client


def test_imap_reads_what_smtp_delivered(server):
    server.send(USER, "Subject: for you\r\n\r\nhello alice\r\n")
    server.wait_mail(USER)
    for kind in ("imap", "imap tls", "imaps"):
        client = imap(server, kind)
        assert client.select("INBOX") == ("OK", [b"1"]), kind
        _, found = client.fetch("1", "(BODY.PEEK[])")
        assert b"Subject: for you" in found[0][1] and found[0][1].endswith(b"hello alice\r\n")
        assert client.logout()[0] == "BYE"
    server.wait_log("imap-connected", address="127.0.0.1", count=3)
    server.wait_log("auth-ok", service="imap", user=USER, count=3)


def test_pop3_reads_and_deletes_what_smtp_delivered(server):
    for kind in ("pop3", "pop3 tls", "pop3s"):
        server.send(USER, "Subject: for you\r\n\r\nhello alice\r\n")
        server.wait_mail(USER)
        client = pop3(server, kind)
        assert client.stat()[0] == 1, kind
        assert client.retr(1)[1][-1] == b"hello alice"
        client.dele(1)
        client.quit()
        wait_for(lambda: not server.mails(USER), what="the message is gone")
    server.wait_log("auth-ok", service="pop3", user=USER, count=3)


def test_much_goes_both_ways(server):
    """More than the sockets between take at once, to a client that reads when it likes."""
    text = b"Subject: much\r\n\r\n" + b"".join(b"%076d\r\n" % n for n in range(50000))
    for kind in ("imap", "imaps"):
        client = imap(server, kind)
        assert client.append("INBOX", None, None, text)[0] == "OK"
        _, (numbers,) = client.select("INBOX")
        client.send(b"x FETCH %s (BODY.PEEK[])\r\n" % numbers * 5)
        for _ in range(5):
            line = client.readline()
            size = int(re.search(rb"\{(\d+)\}", line).group(1))
            assert client.read(size) == text
            while not client.readline().startswith(b"x OK"):
                pass
        client.logout()


def test_a_large_message_is_never_held_whole(server):
    """Neither while it comes nor while it goes, to a client that reads as slowly as it likes."""
    size = 30 << 20
    client = imap(server)
    (pid,) = server.pids("mailbox")
    (access,) = server.pids("mailaccess")
    before = memory(pid) + memory(access)
    line = b"x" * 998 + b"\r\n"
    text = b"Subject: large\r\n\r\n" + line * (size // len(line))
    most = [before]

    def watch():
        most[0] = max(most[0], memory(pid) + memory(access))
    client.send(b"a APPEND INBOX {%d+}\r\n" % len(text))
    for at in range(0, len(text), 1 << 20):
        client.send(text[at:at + (1 << 20)])
        watch()
    client.send(b"\r\n")
    assert client.readline().startswith(b"a OK")
    client.select("INBOX")
    client.send(b"b FETCH 1 BODY.PEEK[]\r\n")
    assert client.readline().endswith(b"{%d}\r\n" % len(text))
    got = hashlib.sha256()
    for at in range(0, len(text), 1 << 20):
        watch()
        got.update(client.read(min(1 << 20, len(text) - at)))
    assert got.digest() == hashlib.sha256(text).digest()
    assert most[0] - before < 8 << 20


def test_pop3_extensions_are_what_capa_says(server):
    server.send(USER, "Subject: one\r\n\r\n" + "line\r\n" * 3)
    server.wait_mail(USER)
    with server.wire(server.ports["pop3"]) as wire:
        wire.line()
        wire.send("CAPA\r\n")
        assert wire.line().startswith(b"+OK")
        capabilities = set()
        while (line := wire.line().strip()) != b".":
            capabilities.add(line.split()[0])
        assert capabilities >= {b"TOP", b"UIDL", b"PIPELINING", b"RESP-CODES", b"AUTH-RESP-CODE", b"UTF8",
            b"SASL", b"USER"}
        # RFC 3206 4: that it was the password which was wrong.
        wire.send(f"USER {USER}\r\nPASS wrong\r\n")
        assert wire.line().startswith(b"+OK")
        assert wire.line().startswith(b"-ERR [AUTH]")
        # RFC 2449 6.6 and RFC 6856 2: many commands in one packet, answered in their order.
        wire.send(f"UTF8\r\nUSER {USER}\r\nPASS {PASSWORD}\r\n")
        for _ in range(3):
            assert wire.line().startswith(b"+OK")
        wire.send("STAT\r\nUIDL 1\r\nTOP 1 1\r\nDELE 1\r\nRSET\r\nQUIT\r\n")
        assert re.match(rb"\+OK 1 \d+", wire.line())
        assert re.match(rb"\+OK 1 \S+", wire.line())
        assert wire.line().startswith(b"+OK")
        text = []
        while (line := wire.line().strip()) != b".":
            text.append(line)
        assert text[-1].strip() == b"line" and text[-2].strip() == b""
        for _ in range(3):
            assert wire.line().startswith(b"+OK")
        assert wire.is_closed()
    assert len(server.mails(USER)) == 1


def test_guesses_by_imap_and_pop3_are_those_of_submission(server):
    """All count together: the password after the tenth wrong one is looked at later."""
    for number in range(10):
        kind = ("imap", "pop3")[number % 2]
        with server.wire(server.ports[kind]) as wire:
            wire.line()
            if kind == "imap":
                wire.send(f"a LOGIN {USER} wrong\r\n")
                assert wire.line().startswith(b"a NO [AUTHENTICATIONFAILED]")
            else:
                wire.send(f"USER {USER}\r\nPASS wrong\r\n")
                assert wire.line().startswith(b"+OK")
                assert wire.line().startswith(b"-ERR [AUTH]")
    shown = server.smtpctl("show", "banned").stdout
    assert USER in shown or "127.0.0" in shown, shown


def test_scram_by_imap(server):
    with server.wire(server.ports["imap"]) as wire:
        wire.line()
        client = Scram()
        wire.send(f"a AUTHENTICATE SCRAM-SHA-256 {client.first()}\r\n")
        wire.send(client.final(wire.line().removeprefix(b"+ ").decode()) + "\r\n")
        assert base64.b64decode(wire.line().removeprefix(b"+ ")).decode() == client.expected
        wire.send("\r\n")
        assert wire.line().startswith(b"a OK")


def scram_plus(wire, prefix, client, binding):
    """AUTHENTICATE or AUTH with SCRAM-SHA-256-PLUS; what the server says at its end."""
    wire.send(f"{prefix} SCRAM-SHA-256-PLUS {client.first()}\r\n")
    challenge = wire.line()
    if not challenge.startswith(b"+ "):
        return challenge
    wire.send(client.final(challenge[2:].decode(), binding=client.header.encode() + binding) + "\r\n")
    line = wire.line()
    if line.startswith(b"+ "):
        assert base64.b64decode(line[2:]).decode() == client.expected
        wire.send("\r\n")
        line = wire.line()
    return line


@pytest.mark.parametrize("kind", ["imaps", "imap tls", "pop3s", "pop3 tls"])
def test_scram_is_bound_to_the_connection(server, rsa, kind):  # noqa: F811
    """SCRAM-SHA-256-PLUS: with another certificate's hash, or none, nobody gets in, with this one's
    she does."""
    is_imap = kind.startswith("imap")
    prefix = "a AUTHENTICATE" if is_imap else "AUTH"
    header = "p=tls-server-end-point,,"
    right = hashlib.sha256(rsa.der).digest()
    for binding in (hashlib.sha256(b"another").digest(), b"", right):
        with server.wire(server.ports[kind]) as wire:
            if kind.endswith(" tls"):
                wire.line()
                wire.send("x STARTTLS\r\n" if is_imap else "STLS\r\n")
                wire.line()
            wire.socket = context().wrap_socket(wire.socket)
            if not kind.endswith(" tls"):
                wire.line()
            line = scram_plus(wire, prefix, Scram(header=header), binding)
            if binding == right:
                assert line.startswith(b"a OK" if is_imap else b"+OK"), line
            else:
                assert line.startswith(b"a NO" if is_imap else b"-ERR"), line
    server.wait_log("auth-ok", mechanism="SCRAM-SHA-256-PLUS", service=kind[:4])


def test_who_has_no_mailbox_is_told_to_come_again(server):
    """The Maildir's place is taken by a file; no rule delivers the user's mail."""
    server.maildir(USER).parent.mkdir(parents=True)
    server.maildir(USER).write_text("")
    server.allow("can't be opened|child-exited program=mailbox")
    with pytest.raises(imaplib.IMAP4.error, match="UNAVAILABLE"):
        imap(server)
    with pytest.raises(poplib.error_proto, match=r"\[SYS/TEMP\]"):
        pop3(server)
    server.rules = ""
    server.write_config()
    server.smtpctl("reload")
    with pytest.raises(imaplib.IMAP4.error, match="UNAVAILABLE"):
        imap(server, user=BOB)
    server.wait_log("auth-deferred", user=BOB)


def test_a_wrong_password_opens_nothing(server):
    for user, password in ((USER, "wrong"), ("nobody@example.test", PASSWORD), ('""', "")):
        with pytest.raises(imaplib.IMAP4.error, match="AUTHENTICATIONFAILED"):
            imap(server, user=user, password=password)
    with pytest.raises(poplib.error_proto, match=r"\[AUTH\]"):
        pop3(server, password="wrong")
    server.wait_log("auth-failed", service="imap", user=USER, address="127.0.0.1")
    server.wait_log("auth-failed", service="pop3", user=USER)
    assert not server.pids("mailbox")
    assert "wrong" not in server.log_text().replace("wrong password", "")
    imap(server).logout()


def test_sasl_with_and_without_an_initial_response(server):
    response = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()
    with server.wire(server.ports["imap"]) as wire:
        assert b"AUTH=PLAIN" in wire.line() and b"AUTH=SCRAM-SHA-256" in wire.transcript[-1][1]
        wire.send("a AUTHENTICATE PLAIN\r\n")
        assert wire.line() == b"+ "
        wire.send("*\r\n")
        assert wire.line().startswith(b"a BAD ")
        wire.send("b AUTHENTICATE NEVER\r\n")
        assert wire.line().startswith(b"b BAD ")
        # What comes behind the login is done by the session.
        wire.send(f"c AUTHENTICATE PLAIN {response}\r\nd NOOP\r\n")
        assert wire.line().startswith(b"c OK [CAPABILITY ")
        assert wire.line().startswith(b"d OK")
    with server.wire(server.ports["pop3"]) as wire:
        wire.line()
        wire.send(f"AUTH PLAIN\r\n{response}\r\nSTAT\r\nQUIT\r\n")
        assert wire.line() == b"+ "
        assert wire.line().startswith(b"+OK")
        assert wire.line() == b"+OK 0 0"
    with server.wire(server.ports["imap"]) as wire:
        wire.line()
        wire.send(f'a LOGIN {{{len(USER)}}}\r\n')
        assert wire.line().startswith(b"+ ")
        wire.send(f'{USER} "{PASSWORD}"\r\n')
        assert wire.line().startswith(b"a OK")


@pytest.mark.parametrize("kind, ahead, after, answer", [
    ("imap", "a STARTTLS\r\nb NOOP\r\n", "c NOOP\r\n", b"c OK"),
    ("pop3", "STLS\r\nQUIT\r\n", "CAPA\r\n", b"+OK")])
def test_what_comes_ahead_of_tls_is_dropped(server, kind, ahead, after, answer):
    with server.wire(server.ports[f"{kind} tls"]) as wire:
        wire.line()
        wire.send(ahead)
        assert b"OK" in wire.line()
        wire.socket = context().wrap_socket(wire.socket)
        wire.send(after)
        assert wire.line().startswith(answer)
        if kind == "pop3":  # and not what QUIT is answered
            assert wire.line() == b"TOP"


def test_before_login_little_is_taken(server):
    with server.wire(server.ports["imap"]) as wire:
        wire.line()
        wire.send("a SELECT INBOX\r\nb APPEND INBOX {100000}\r\n")
        assert wire.line().startswith(b"a BAD")
        assert wire.line().startswith(b"b BAD")
        wire.send(b"c NOOP " + b"x" * 100000 + b"\r\n")
        assert wire.line().startswith(b"c BAD")
        wire.send("".join(f"d{number} NONSENSE\r\n" for number in range(30)))
        assert wire.is_closed()
    server.wait_log("imap-disconnected", reason="too many errors")
    with server.wire(server.ports["pop3"]) as wire:
        wire.line()
        wire.send(b"STAT\r\n" + b"x" * 100000)
        assert wire.line().startswith(b"-ERR")
        assert wire.is_closed()


def test_idle_hears_of_a_delivery(server):
    client = imap(server, "imaps")
    client.select("INBOX")
    client.send(b"i IDLE\r\n")
    assert client.readline().startswith(b"+")
    server.send(USER)
    assert client.readline() == b"* 1 EXISTS\r\n"
    client.send(b"DONE\r\n")
    wait_for(lambda: client.readline().startswith(b"i OK"), what="IDLE ends")
    client.logout()


def test_sessions_of_one_mailbox_share_a_process_and_its_death(server):
    first, second = imap(server), imap(server, "imaps")
    assert len(server.pids("mailbox")) == 1
    other = imap(server, user=BOB)
    assert len(server.pids("mailbox")) == 2
    (line,) = [line for line in server.log_lines("child-started", program="mailbox")
        if line["user"] == USER]
    pid = int(line["pid"])
    server.allow(rf"child-\w+.*pid={pid}\b")
    os.kill(pid, signal.SIGKILL)
    for client in first, second:
        with pytest.raises((imaplib.IMAP4.abort, OSError)):
            client.noop()
    assert other.noop()[0] == "OK"
    imap(server).logout()
    assert other.logout()[0] == "BYE"


def test_a_user_has_one_mailbox_only(server):
    server.send(BOB, "Subject: secret\r\n\r\nx\r\n")
    server.wait_mail(BOB)
    client = imap(server)
    assert client.select("INBOX") == ("OK", [b"0"])
    for name in ("../bob", ".../bob", "/", str(server.maildir(BOB)), "INBOX/../../bob"):
        assert client.select(f'"{name}"')[0] == "NO"
    (pid,) = server.pids("mailbox")
    user = pop3(server, user=BOB)
    assert user.stat()[0] == 1
    user.quit()
    client.logout()
    status = open(f"/proc/{pid}/status", encoding="utf-8").read()
    assert re.search(r"NoNewPrivs:\t1", status)


def test_killed_mailaccess_comes_back(server):
    client = imap(server)
    server.kill_and_wait_back("mailaccess")
    with pytest.raises((imaplib.IMAP4.abort, OSError)):
        client.noop()

    def works():
        try:
            return imap(server).logout()[0] == "BYE"
        except (OSError, imaplib.IMAP4.error):
            return False
    wait_for(works, what="logins work again")


def test_the_end_is_said(server):
    client = imap(server)
    waiting = server.wire(server.ports["pop3"])
    waiting.line()
    server.stop()
    assert b"BYE" in client.readline()
    assert waiting.line().startswith(b"-ERR")
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", server.ports["imap"]), 5)
