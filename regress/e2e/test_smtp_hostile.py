"""Hostile clients: each is refused with a clear reply and one log line, nothing is stored of it, and others are
served meanwhile."""

import re
import socket
import time

import pytest

from postern import Wire, wait_for

START = "MAIL FROM:<erin@client.test>"
TO = "RCPT TO:<alice@example.test>"


def begin(wire):
    wire.hello()
    wire.command(START, 250)
    wire.command(TO, 250)


def send_text(wire, text):
    begin(wire)
    wire.command("DATA", 354)
    wire.send(text + b".\r\n")
    return wire.reply()


# Command lines

@pytest.mark.parametrize("length, code", [(513, 250), (2048, 250), (2049, 500)])
def test_command_lines_up_to_the_limit_are_taken(postern, length, code):
    with postern.wire() as wire:
        wire.hello()
        wire.command("NOOP " + "x" * (length - 7), code)
        wire.command("NOOP", 250)


def test_a_mebibyte_without_a_line_end_closes_the_session(postern):
    with postern.wire() as wire:
        wire.hello()
        try:
            wire.send(b"x" * (1024 * 1024))
        except ConnectionError:
            pass
        wire.expect(500, "5.5.2")
        wire.expect(421)
        assert wire.is_closed()
    postern.send("alice@example.test")


@pytest.mark.parametrize("length, taken", [(998, True), (1001, True), (1024 * 1024 + 2, True),
    (1024 * 1024 + 3, False)])
def test_text_lines_up_to_the_limit_are_taken(postern, length, taken):
    line = b"x" * (length - 2) + b"\r\n"
    with postern.wire() as wire:
        reply = send_text(wire, b"Subject: long\r\n\r\n" + line)
        assert reply.code == (250 if taken else 550), reply
        assert taken or "5.6.0" in reply.text
        wire.command("NOOP", 250)
    if taken:
        (mail,) = postern.wait_mail("alice@example.test")
        assert mail.body == line.replace(b"\r\n", b"\n")


# Greetings

@pytest.mark.parametrize("name", ["", "a b", "a" * 1500, "x=0D=0AX-Evil:yes", "a(b)", "-", "..",
    "[127.0.0.256]", "\x80\xff", "<script>"])
def test_what_is_no_host_name_is_refused(postern, name):
    with postern.wire() as wire:
        wire.expect(220)
        wire.command(f"EHLO {name}", 501, "5.5.4")
        wire.command("MAIL FROM:<erin@client.test>", 503)
        wire.command("EHLO client.test", 250)


def test_a_4096_byte_name_is_refused(make_postern):
    postern = make_postern(extra="smtp limit command-line 8K")
    with postern.wire() as wire:
        wire.expect(220)
        wire.command("EHLO " + "a" * 4096, 501)
        wire.command("EHLO client.test", 250)


def test_a_name_of_another_s_address_is_only_recorded(postern):
    with postern.wire() as wire:
        wire.expect(220)
        wire.command("EHLO [192.0.2.77]", 250)
        wire.command(START, 250)
        wire.command(TO, 250)
        wire.command("DATA", 354)
        wire.send("Subject: x\r\n\r\nx\r\n.\r\n")
        wire.expect(250)
    (mail,) = postern.wait_mail("alice@example.test")
    assert mail.data.count(b"Received: ") == 1
    assert re.search(rb"from \[192\.0\.2\.77\] \(.*\[127\.0\.0\.1\]\)", mail.data)


# Addresses

@pytest.mark.parametrize("address", ["a" * 65 + "@d", "a" * 1900 + "@d", "u@" + "l" * 64 + ".test",
    "u@d@e", "@d", "u@d", ".u@d", "u..v@d", "u@-d", "u@d..", "\"\\\"@d", "u\t@d", ";sleep 5;@d",
    "$(id)@d", "../../x@d", "\"a\\\x7fb\"@d"])
def test_what_is_no_address_is_refused(postern, address):
    with postern.wire() as wire:
        wire.hello()
        path = "u@d>" if address == "u@d" else f"<{address}>"
        reply = wire.command(f"MAIL FROM:{path}")
        assert reply.code in (500, 501), reply
        wire.command(START, 250)
        reply = wire.command(f"RCPT TO:{path}")
        assert reply.code in (500, 501), reply


@pytest.mark.parametrize("address", ["|cmd@example.test", "/etc/passwd@example.test",
    "\"../../x\"@example.test", "-f@example.test", "`id`@example.test", "u%elsewhere.test@example.test",
    "elsewhere.test!u@example.test", "\"a b\"@example.test"])
def test_odd_names_are_unknown_users(postern, address):
    with postern.wire() as wire:
        wire.hello()
        wire.command(START, 250)
        wire.command(f"RCPT TO:<{address}>", 550, "5.1.1")


@pytest.mark.parametrize("address", ["u@[192.0.2.1]", "u@[IPv6:2001:db8::1]", "u@elsewhere.test",
    "@example.test:u@elsewhere.test"])
def test_nothing_is_relayed(postern, address):
    with postern.wire() as wire:
        wire.hello()
        wire.command(START, 250)
        wire.command(f"RCPT TO:<{address}>", 550, "5.7.1")


def test_a_hundred_parameters(postern):
    with postern.wire() as wire:
        wire.hello()
        wire.command(START + "".join(f" X{n}=y" for n in range(100)), 555)
        wire.command(START + " BODY=7BIT" * 100, 501)
        wire.command(START, 250)


# Numbers of things

def test_the_same_recipient_a_thousand_times_is_one_delivery(postern):
    with postern.wire() as wire:
        wire.hello()
        wire.command(START, 250)
        wire.send((TO + "\r\n") * 1000)
        for _ in range(1000):
            wire.expect(250)
        wire.command(TO, 452, "4.5.3")
        wire.command("DATA", 354)
        wire.send("Subject: many\r\n\r\nx\r\n.\r\n")
        wire.expect(250)
    postern.wait_mail("alice@example.test")
    postern.wait_queue_empty()
    assert len(postern.mails("alice@example.test")) == 1


def test_a_hundred_thousand_recipients(postern):
    block = (TO + "\r\n") * 1000
    codes = []
    with postern.wire(timeout=60) as wire:
        wire.hello()
        wire.command(START, 250)
        for _ in range(100):
            wire.send(block)
            codes += [wire.reply().code for _ in range(1000)]
        assert codes.count(250) == 1000
        assert codes.count(452) == 99000
        wire.command("RSET", 250)
    assert len(postern.log_lines("rcpt-refused")) == 1


def test_ten_thousand_resets_are_too_many(postern):
    with postern.wire(timeout=60) as wire:
        wire.hello()
        try:
            wire.send("RSET\r\n" * 10000)
        except ConnectionError:
            pass
        replies = 0
        while (reply := wire.reply()).code == 250:
            replies += 1
        assert reply.code == 421
        assert replies < 1001
        assert wire.is_closed()


def test_a_search_for_users_is_slowed_and_ended(make_postern):
    postern = make_postern(extra="smtp limit unknown-users 3\nsmtp limit max-errors 5")
    with postern.wire() as wire:
        wire.hello()
        wire.command(START, 250)
        begin_time = time.monotonic()
        wire.send("".join(f"RCPT TO:<nobody{n}@example.test>\r\n" for n in range(10000)))
        for _ in range(3):
            wire.expect(550, "5.1.1")
        fast = time.monotonic() - begin_time
        for _ in range(2):
            wire.expect(550, "5.1.1")
        slow = time.monotonic() - begin_time
        wire.expect(421)
        assert wire.is_closed()
        assert slow - fast > 0.9
    postern.wait_log("smtp-disconnected", reason="too many errors")


def test_junk_commands_are_too_many(postern):
    with postern.wire() as wire:
        wire.hello()
        for n in range(20):
            wire.command(f"JUNK{n}", 500)
        wire.command("JUNK", 421)
        assert wire.is_closed()
    assert len(postern.log_lines("command-refused")) == 20


def test_twenty_thousand_noops_hold_up_nobody(postern):
    with postern.wire(timeout=60) as wire:
        wire.hello()
        try:
            wire.send("NOOP\r\n" * 20000)
        except ConnectionError:
            pass
        begin_time = time.monotonic()
        postern.send("alice@example.test")
        assert time.monotonic() - begin_time < 5


def test_max_mails_ends_the_session(make_postern):
    postern = make_postern(extra="smtp limit max-mails 2")
    with postern.wire() as wire:
        assert "LIMITS RCPTMAX=1000 MAILMAX=2" in wire.hello()
        for _ in range(2):
            wire.command(START, 250)
            wire.command("RSET", 250)
        wire.command(START, 421)
        assert wire.is_closed()


# Other protocols, and talk at the wrong time

def test_an_http_request_is_no_mail(postern):
    with postern.wire() as wire:
        wire.expect(220)
        wire.send("POST / HTTP/1.1\r\nHost: mx.example.test\r\n\r\nMAIL FROM:<a@b>\r\n")
        wire.expect(554)
        assert wire.is_closed()
    postern.wait_log("smtp-disconnected", reason="not SMTP")


def test_talk_before_the_banner_is_refused(postern):
    postern.smtpctl("pause", "smtp")
    with postern.wire() as wire:  # accepted by the kernel
        wire.send("EHLO early.test\r\n")
        postern.smtpctl("resume", "smtp")
        wire.expect(554, "5.5.0")
        assert wire.is_closed()
    postern.wait_log("smtp-disconnected", reason="talked before the greeting")


@pytest.mark.parametrize("words", ["XCLIENT ADDR=192.0.2.1", "XFORWARD ADDR=192.0.2.1",
    "PROXY TCP4 192.0.2.1 192.0.2.2 1 25"])
def test_claims_to_be_another_are_unknown_commands(postern, words):
    with postern.wire() as wire:
        wire.hello()
        wire.command(words, 500)
        wire.command(START, 250)


# Texts

def test_a_million_header_fields(postern):
    with postern.wire(timeout=60) as wire:
        reply = send_text(wire, b"X-A: b\r\n" * 1000000 + b"\r\nx\r\n")
        assert reply.code == 552 and "5.3.4" in reply.text, reply
        wire.command("NOOP", 250)


def test_a_header_field_of_ten_mebibytes(postern):
    with postern.wire(timeout=60) as wire:
        reply = send_text(wire, b"X-A: b\r\n" + b" folded\r\n" * (10 * 1024 * 1024 // 9) + b"\r\nx\r\n")
        assert reply.code == 552, reply
        wire.command("NOOP", 250)


def test_a_message_without_a_header(postern):
    with postern.wire() as wire:
        assert send_text(wire, b"only a body\r\n\r\nof two\r\n").code == 250
    (mail,) = postern.wait_mail("alice@example.test")
    assert mail.data.replace(b"\r\n", b"\n").endswith(b"only a body\n\nof two\n")


@pytest.mark.parametrize("count, code", [(100, 250), (101, 554)])
def test_received_fields_up_to_the_limit_are_no_loop(postern, count, code):
    with postern.wire() as wire:
        reply = send_text(wire, b"Received: from a by b; now\r\n" * count + b"\r\nx\r\n")
        assert reply.code == code, reply
        assert code == 250 or "5.4.6" in reply.text


def test_bytes_are_stored_as_they_came(postern):
    every = bytes(n for n in range(1, 256) if n not in (10, 13))
    body = every + b"\r\nNUL:\0\r\n" + b"x" * 900000 + b"\r\n"
    with postern.wire(timeout=60) as wire:
        assert send_text(wire, b"Subject: bytes\r\nTo: " + b"a@b, " * 50000 + b"\r\n\r\n" +
            body).code == 250
    (mail,) = postern.wait_mail("alice@example.test")
    assert mail.body == body.replace(b"\r\n", b"\n")


DEEP = b"".join(b"--%d\r\nContent-Type: multipart/mixed; boundary=%d\r\n\r\n" % (n, n + 1)
    for n in range(5000))
TEXTS = {
    "multipart depth 5,000": b"Content-Type: multipart/mixed; boundary=0\r\n\r\n" + DEEP,
    "100,000 parts": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" +
        b"--b\r\n\r\nx\r\n" * 100000 + b"--b--\r\n",
    "20,000 RFC 2231 parameters": b"Content-Type: text/plain" +
        b"".join(b";\r\n\tname*%d*=x" % n for n in range(20000)) + b"\r\n\r\nx\r\n",
    "50,000 addresses": b"To: a@b" + b",\r\n\ta@b" * 50000 + b"\r\n\r\nx\r\n",
    "200,000 nested comments": b"To: " + b"(" * 200000 + b")" * 200000 + b" a@b\r\n\r\nx\r\n",
    "20,000 encoded words": b"Subject: x" + b"\r\n =?utf-8?Q?=41?=" * 20000 + b"\r\n\r\nx\r\n",
    "a body line of 1 MiB": b"Subject: x\r\n\r\n" + b"x" * 1024 * 1024 + b"\r\n",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_texts_made_for_parsers_are_stored_byte_for_byte(postern, text):
    begin_time = time.monotonic()
    with postern.wire(timeout=60) as wire:
        assert send_text(wire, text).code == 250
    assert time.monotonic() - begin_time < 5
    (mail,) = postern.wait_mail("alice@example.test")
    stored = mail.data.replace(b"\r\n", b"\n")
    assert stored.endswith(b"\n" + text.replace(b"\r\n", b"\n"))


def test_a_message_over_the_size_is_read_to_its_end_and_refused(make_postern):
    postern = make_postern(extra="smtp max-message-size 100K")
    with postern.wire() as wire:
        reply = send_text(wire, b"Subject: x\r\n\r\n" + b"x" * 78 + b"\r\n" * 60000)
        assert reply.code == 552 and "5.3.4" in reply.text, reply
        wire.command("NOOP", 250)


def test_a_refused_text_without_end_closes_the_session(make_postern):
    postern = make_postern(extra="smtp max-message-size 100K")
    with postern.wire() as wire:
        begin(wire)
        wire.command("DATA", 354)
        with pytest.raises(ConnectionError):
            for _ in range(100000):
                wire.send(b"x" * 998 + b"\r\n")
    postern.wait_log("smtp-disconnected", reason="text too large")


# Broken connections

def test_one_byte_at_a_time_is_served_meanwhile_others_are(postern):
    with postern.wire() as slow:
        slow.expect(220)
        for byte in b"EHLO client.test\r\n":
            slow.send(bytes([byte]))
        assert slow.reply().code == 250
        slow.send("MAIL FR")
        postern.send("alice@example.test")
        slow.send("OM:<a@client.test>\r\n")
        slow.expect(250)


def test_a_half_closed_connection_gets_its_replies(postern):
    with postern.wire() as wire:
        wire.hello()
        wire.send(START + "\r\n" + TO + "\r\nNOOP\r\n")
        wire.socket.shutdown(socket.SHUT_WR)
        for _ in range(3):
            wire.expect(250)
        assert wire.is_closed()


STEPS = ["EHLO client.test\r\n", START + "\r\n", TO + "\r\n", "DATA\r\n", "Subject: x\r\n", "\r\nx\r\n"]


@pytest.mark.parametrize("steps", range(len(STEPS) + 1))
def test_a_reset_at_any_step_hurts_nobody(postern, steps):
    wire = postern.wire()
    wire.expect(220)
    for number, step in enumerate(STEPS[:steps]):
        wire.send(step)
        if number < 4:
            wire.reply()
    wire.reset()
    postern.wait_log("smtp-disconnected", messages="0")
    postern.send("bob@example.test")
    postern.wait_mail("bob@example.test")
    assert not postern.mails("alice@example.test")


def test_a_disconnect_after_the_last_dot_is_all_or_nothing(postern):
    for number in range(20):
        wire = postern.wire()
        begin(wire)
        wire.command("DATA", 354)
        wire.send(f"Subject: {number}\r\n\r\nbody {number}\r\n.\r\n")
        wire.reset() if number % 2 else wire.close()
    wait_for(lambda: len(postern.log_lines("smtp-disconnected")) >= 20, what="20 sessions ended")
    accepted = len(postern.log_lines("message-accepted"))
    postern.wait_queue_empty()
    mails = wait_for(lambda: len(postern.mails("alice@example.test")) == accepted and
        [postern.mails("alice@example.test")], what=f"{accepted} messages")[0]
    assert all(re.fullmatch(rb"body \d+\n", mail.body) for mail in mails)
    assert len({mail.body for mail in mails}) == len(mails)


# The log

def test_no_word_of_a_client_s_makes_a_line_or_a_field(postern):
    evil = [b"EHLO a\x1b[2J", b"EHLO x\x80\xff", b"NOOP \x00\x07", b"JUNK \" reply=\"250 ok\" x=\xe2\x80\xae",
        b"MAIL FROM:<\"a\\\" message=00000000 b\"@client.test>", b"VRFY a\rb",
        b"MAIL FROM:<a@b> ENVID=a+0Ab", b"RCPT TO:<x@y>\x0bz"]
    with postern.wire() as wire:
        wire.expect(220)
        for line in evil:
            wire.command(line, 5 if not line.startswith(b"VRFY a\r") else 500)
        wire.command("EHLO client.test", 250)
        wire.command(evil[4], 250)
    wait_for(lambda: postern.log_lines("smtp-disconnected"), what="the session's end")
    text = postern.log_file.read_bytes()
    assert all(32 <= byte < 127 or byte == 10 for byte in text), "control or 8-bit byte in the log"
    for line in postern.log_text().splitlines():
        assert re.match(r"\S+ [\w-]+\[\d+\]: ", line), line
    for line in postern.log_lines("command-refused") + postern.log_lines("mail-refused"):
        assert line["reply"][0] == "5"


def test_one_session_can_be_followed(postern):
    message = postern.send("alice@example.test", sender="erin@client.test")
    accepted = postern.wait_log("message-accepted", message=message)
    session = accepted["session"]
    assert accepted["from"] == "erin@client.test"
    assert accepted["to"] == "alice@example.test"
    assert accepted["address"] == "127.0.0.1"
    assert accepted["helo"] == "client.test"
    assert int(accepted["size"]) > 0 and int(accepted["delay_ms"]) >= 0
    assert postern.wait_log("smtp-connected", session=session)["address"] == "127.0.0.1"
    end = postern.wait_log("smtp-disconnected", session=session)
    assert (end["reason"], end["messages"], end["recipients"], end["errors"]) == ("quit", "1", "1", "0")
