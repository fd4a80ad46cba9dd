"""Servers that answer with anything but what SMTP has: mail for each goes to the domain's other
MX, or to the server itself where its words can be understood, or comes back; the relay lives on,
what it logs stays one line an event, and no word of theirs makes a field of a report."""

import re

import pytest

from postern import PROGRAMS, wait_for
from smtp_peer import CLOSE, RESET, Peer
from test_relay import Names, mx, make  # noqa: F401 (a fixture)

pytestmark = pytest.mark.root  # port 25

STEPS = ("GREETING", "EHLO", "MAIL", "RCPT", "DATA", "TEXT")
FORGED = (b'550 5.1.1 x" to=<evil@far.test>\rdelivered message=1 to=evil@far.test\x1b[2J\xe4\0'
    b"(\\\r\n")


class ByByte:
    """A connection that sends each byte by itself."""

    def __init__(self, connection):
        self.connection = connection

    def sendall(self, data):
        for byte in data:
            self.connection.sendall(bytes([byte]))

    def __getattr__(self, name):
        return getattr(self.connection, name)


def by_byte(session):
    session.connection = ByByte(session.connection)
    return "220 slow.far.test ESMTP"


# What a server says to what, always; and where the mail is in the end: at the "next" server, with
# this one "itself", with "either", or "back".
CASES = {
    "banner of 8 MiB without an end": ("GREETING", b"220 " + b"x" * (8 << 20), "next"),
    "banner line of 1 MiB": ("GREETING", b"220 " + b"x" * (1 << 20) + b"\r\n", "either"),
    "banner of 10,000 lines": ("GREETING", b"220-x\r\n" * 10000 + b"220 x\r\n", "either"),
    "reply line of 1 MiB": ("MAIL", b"250 " + b"x" * (1 << 20) + b"\r\n", "either"),
    "reply of 10,000 lines": ("RCPT", b"250-x\r\n" * 10000 + b"250 x\r\n", "either"),
    "reply without an end": ("DATA", b"354-x\r\n" * 100000, "next"),
    "code 000": ("MAIL", "000 ok", "next"),
    "code 199": ("RCPT", "199 ok", "next"),
    "code 999": ("DATA", "999 ok", "next"),
    "code 1e2": ("EHLO", "2e2 ok", "next"),
    "codes that differ": ("MAIL", "250-ok\n451 4.3.0 not really", "next"),
    "8-bit junk": ("EHLO", bytes(range(256)) * 64 + b"\r\n", "next"),
    "8-bit words": ("MAIL", "250 ÿ€ \0 ok", "itself"),
    "NULs": ("GREETING", b"\0" * 4096 + b"\r\n", "next"),
    "354 to MAIL": ("MAIL", "354 go ahead", "next"),
    "354 to RCPT": ("RCPT", "354 go ahead", "next"),
    "250 to DATA": ("DATA", "250 go ahead", "next"),
    "220 to the text": ("TEXT", "354 more", "either"),
    "a web server": ("GREETING", b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n", "next"),
    "EHLO unknown": ("EHLO", "502 5.5.1 what?", "itself"),
    "a byte at a time": ("GREETING", by_byte, "itself"),
    "more replies than commands": ("MAIL", b"250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n", "next"),
    "a second banner": ("GREETING", b"220 mx\r\n220 mx\r\n", "either"),
    **{f"421 to {step}": (step, "421 4.3.2 enough", "next") for step in STEPS},
    **{f"close at {step}": (step, CLOSE, "next") for step in STEPS if step != "TEXT"},
    **{f"reset at {step}": (step, RESET, "next") for step in STEPS if step != "TEXT"},
    **{f"half a reply at {step}": (step, lambda session: session.connection.sendall(b"25") or CLOSE,
        "next") for step in STEPS if step != "TEXT"},
    **{f"forged words at {step}": (step, FORGED, "back") for step in STEPS[2:]},
    "words of many lines": ("RCPT", b"550-5.1.1 a\r\n550-Status: 2.0.0\r\n550-\r\n550 --b\r\n",
        "back"),
}
EXTENSIONS = {
    "SIZE of 30 digits": "SIZE 999999999999999999999999999999",
    "SIZE -1": "SIZE -1",
    "SIZE of letters": "SIZE \x01many",
    "STARTTLS that is refused": "STARTTLS",
    "LIMITS of nothing": "LIMITS RCPTMAX=0 MAILMAX=0 RCPTDOMAINMAX=0",
    "LIMITS without sense": "LIMITS RCPTMAX=-1 MAILMAX=99999999999999999999 =",
    "AUTH without an end": "AUTH " + "X" * 2000,
    "a name with a NUL": "8BITMIME\0STARTTLS",
    "the same one 400 times": "\n".join(["PIPELINING"] * 400),
}


@pytest.fixture
def names(tool, tmp_path):
    server = Names(tool("dnsmasq"), tmp_path)
    yield server
    server.stop()


def test_servers_that_say_anything(make, names):  # noqa: F811
    peers, lines = [], []
    wanted = {}
    try:
        good = Peer(name="good.far.test").__enter__()
        peers.append(good)
        for number, (what, case) in enumerate({**CASES, **EXTENSIONS}.items()):
            if isinstance(case, tuple):
                peer = Peer(name=f"bad{number}.far.test").__enter__()
                peer.always(case[0], case[1])
                wanted[number] = (what, case[2], peer)
            else:
                peer = Peer(name=f"odd{number}.far.test", extensions=["PIPELINING",
                    *case.split("\n")]).__enter__()
                peer.always("STARTTLS", "454 4.7.0 not now")
                wanted[number] = (what, "itself", peer)
            peers.append(peer)
            lines += mx(f"n{number}.test", peer, good)
        names.set(*lines)
        postern = make(extra="mta sessions-per-host 50\n")
        relay = postern.pids("relay")
        with postern.smtp() as client:
            for number in wanted:
                client.sendmail("alice@example.test", [f"x@n{number}.test"],
                    b"From: alice@example.test\r\nSubject: x\r\n\r\nhello\r\n")
        wrong = []
        for number, (what, where, peer) in wanted.items():
            try:
                check_where_it_is(postern, good, number, what, where, peer)
            except AssertionError as why:
                wrong.append(str(why))
        assert not wrong, "\n".join(wrong)
        assert postern.pids("relay") == relay
        for line in postern.log_text().splitlines():
            assert re.fullmatch(r"[ -~]*", line), line
            assert re.match(rf"\S+ (smtpd|{'|'.join(PROGRAMS)})\[", line), line
        assert not [line for line in postern.log_lines("delivered") if "evil" in line["to"]]
    finally:
        for peer in peers:
            peer.problems.clear()  # what isn't spoken as it should be is meant so
            peer.__exit__()


def check_where_it_is(postern, good, number, what, where, peer):
    to = f"x@n{number}.test"

    def reports():
        return [mail for mail in postern.mails("alice@example.test")
            if f"rfc822; {to}".encode() in mail.data]

    def places():
        found = set()
        for server, name in ((good, "next"), (peer, "itself")):
            if any(to in message.recipients and b"hello" in message.data
                    for message in server.messages):
                found.add(name)
        if reports():
            found.add("back")
        return found
    try:
        found = wait_for(places, 20, what)
    except AssertionError:
        raise AssertionError(f"{what}: nowhere\n" + "\n".join(line.text for line in
            postern.log_lines() if f"n{number}.test" in line.text)) from None
    assert len(found) == 1, (what, found)
    assert found <= {"next", "itself"} if where == "either" else found == {where}, (what, found)
    if found == {"back"}:
        (mail,) = reports()
        assert not re.search(rb"[^\t\n\r -~]", mail.data), what
        status = mail.message.get_payload()[1].get_payload()[1]
        assert set(status.keys()) <= {"Final-Recipient", "Original-Recipient", "Action", "Status",
            "Remote-MTA", "Diagnostic-Code", "Last-Attempt-Date"}, status.items()
        assert len(status.get_all("Status")) == 1 and status["Status"].startswith("5.")
