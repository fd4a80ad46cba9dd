"""Line ends and dots of message text (RFC 5321 2.3.8, 4.1.1.4, 4.5.2): only CRLF.CRLF ends a message, and
what other software takes for an end smuggles nothing in or out."""

import re

import pytest

FALSE_ENDS = {
    "LF.LF": b"\n.\n",
    "CR.CR": b"\r.\r",
    "CR.CRLF": b"\r.\r\n",
    "LF.CRLF": b"\n.\r\n",
    "CRLF.LF": b"\r\n.\n",
    "CRLF.CR": b"\r\n.\r",
    "CRLF-NUL.CRLF": b"\r\n\0.\r\n",
    "CRLF.NUL-CRLF": b"\r\n.\0\r\n",
    "CRCRLF.CRLF": b"\r\r\n.\r\n",
}
SECOND = (b"MAIL FROM:<evil@client.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n"
    b"Subject: smuggled\r\n\r\nsmuggled\r\n.\r\n")


def begin(wire, to="alice@example.test"):
    wire.hello()
    wire.command("MAIL FROM:<erin@client.test>", 250)
    wire.command(f"RCPT TO:<{to}>", 250)
    wire.command("DATA", 354)


def text_with(end):
    return b"Subject: first\r\n\r\nfirst" + end + SECOND


@pytest.mark.parametrize("end", FALSE_ENDS.values(), ids=FALSE_ENDS.keys())
def test_a_false_end_refuses_the_message(postern, end):
    with postern.wire() as wire:
        begin(wire)
        wire.send(text_with(end))
        wire.expect(550, "5.6.11")
        if end == FALSE_ENDS["CRCRLF.CRLF"]:
            # This one ends with CRLF.CRLF: what is behind it are commands of their own, but they
            # came ahead of where pipelining allows it, and so does their text.
            wire.expect(250)
            wire.expect(250)
            wire.expect(554)
            assert wire.is_closed()
        else:
            wire.command("NOOP", 250)
    postern.wait_log("message-refused", reply=re.compile("5.6.11"))
    postern.wait_queue_empty()
    assert not postern.mails("alice@example.test")
    assert not postern.mails("bob@example.test")


def test_a_normalised_message_is_one(make_postern):
    postern = make_postern(extra="smtp line-ends normalise")
    ends = [end for name, end in FALSE_ENDS.items() if name != "CRCRLF.CRLF"]
    for end in ends:
        with postern.wire() as wire:
            begin(wire)
            wire.send(text_with(end))
            wire.expect(250)
            wire.command("NOOP", 250)
    mails = postern.wait_mail("alice@example.test", len(ends))
    postern.wait_queue_empty()
    assert len(mails) == len(ends)
    assert not postern.mails("bob@example.test")
    for mail in mails:
        # One body: the first text, a line with a dot, and the second envelope as text.
        assert mail.body == b"first\n.\n" + SECOND[:-3].replace(b"\r\n", b"\n")


def test_a_text_in_single_bytes_arrives_whole(postern):
    body = b"..a dot\r\n...\r\n. x\r\n"
    with postern.wire() as wire:
        begin(wire)
        for byte in b"Subject: x\r\n\r\n" + body + b".\r\n":
            wire.send(bytes([byte]))
        wire.expect(250)
    (mail,) = postern.wait_mail("alice@example.test")
    assert mail.body == b".a dot\n..\n x\n"


def test_a_first_line_that_is_a_dot_is_an_empty_message(postern):
    with postern.wire() as wire:
        begin(wire)
        wire.send(b".\r\n")
        wire.expect(250)
    (mail,) = postern.wait_mail("alice@example.test")
    assert mail.body == b""


def test_bdat_keeps_dot_lines(postern):
    text = b"Subject: x\r\n\r\n.\r\n..\r\n.end"
    with postern.wire() as wire:
        wire.hello()
        wire.command("MAIL FROM:<erin@client.test>", 250)
        wire.command("RCPT TO:<alice@example.test>", 250)
        wire.send(b"BDAT %d LAST\r\n" % len(text) + text)
        wire.expect(250)
    (mail,) = postern.wait_mail("alice@example.test")
    assert mail.body == b".\n..\n.end\n"


@pytest.mark.parametrize("end", [b"\r\na\nb\r\n", b"\r\na\rb\r\n", b"\r\n\0.\r\n", b"\r\na\r"],
    ids=["LF", "CR", "NUL", "last-CR"])
def test_bdat_is_checked_like_data(postern, end):
    with postern.wire() as wire:
        wire.hello()
        wire.command("MAIL FROM:<erin@client.test>", 250)
        wire.command("RCPT TO:<alice@example.test>", 250)
        wire.send(b"BDAT %d LAST\r\n" % len(end) + end)
        wire.expect(550, "5.6.11")
        wire.command("NOOP", 250)


def test_bdat_cut_off_by_disconnect_is_no_message(postern):
    with postern.wire() as wire:
        wire.hello()
        wire.command("MAIL FROM:<erin@client.test>", 250)
        wire.command("RCPT TO:<alice@example.test>", 250)
        wire.send(b"BDAT 1000 LAST\r\nSubject: cut\r\n\r\n")
    postern.wait_log("smtp-disconnected", reason="client closed", messages="0", recipients="1")
    postern.wait_queue_empty()
    assert not postern.mails("alice@example.test")


@pytest.mark.parametrize("words", ["DATA", "EHLO again.test"])
def test_input_ahead_of_the_reply_closes(postern, words):
    with postern.wire() as wire:
        wire.hello()
        wire.command("MAIL FROM:<erin@client.test>", 250)
        wire.command("RCPT TO:<alice@example.test>", 250)
        wire.send(words + "\r\n" + "Subject: ahead\r\n\r\nahead\r\n.\r\n")
        wire.expect(554, "5.5.0")
        assert wire.is_closed()
    postern.wait_log("smtp-disconnected", reason="talked ahead")
    assert not postern.mails("alice@example.test")


def test_text_behind_a_refused_data_is_not_taken_for_commands(postern):
    with postern.wire() as wire:
        wire.hello()
        wire.send("MAIL FROM:<erin@client.test>\r\nRCPT TO:<nobody@example.test>\r\nDATA\r\n"
            "RSET\r\nMAIL FROM:<evil@client.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n")
        wire.expect(250)
        wire.expect(550)
        wire.expect(554)
        assert wire.is_closed()
