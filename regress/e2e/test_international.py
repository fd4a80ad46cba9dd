"""Mail with addresses beyond ASCII (RFC 6531), and what a listener with options of its own offers."""

import re

import pytest


@pytest.fixture
def wire(make_postern):
    postern = make_postern(listen="listen on 127.0.0.1 port @PORT@ no-dsn",
        extra="smtp max-message-size 64K\nsmtp limit max-rcpt 100")
    postern.add_user("jörg@example.test")
    with postern.wire() as connection:
        connection.postern = postern
        connection.offered = connection.hello()
        yield connection


def test_a_user_beyond_ascii_gets_mail_and_its_failure_comes_back(wire):
    """RFC 6531 3.5, 4.3: the addresses are kept, in UTF-8, in trace fields; RFC 6533 3: and in the DSN."""
    postern = wire.postern
    postern.smtpctl("pause", "mda")
    wire.command("MAIL FROM:<jörg@example.test> SMTPUTF8", 250)
    wire.command("RCPT TO:<jörg@example.test>", 250)
    postern.add_user("zoë@example.test")
    wire.command("RCPT TO:<zoë@example.test>", 250)
    wire.command("DATA", 354)
    wire.send("Subject: Grüße\r\n\r\nx\r\n.\r\n").expect(250)
    postern.smtpctl("user", "del", "zoë@example.test")
    postern.smtpctl("resume", "mda")
    mails = postern.wait_mail("jörg@example.test", 2)
    report, = [mail for mail in mails if b"multipart/report" in mail.data]
    mails.remove(report)
    assert "Return-Path: <jörg@example.test>".encode() in mails[0].data
    assert re.search(rb"with UTF8SMTP id [0-9a-f]{8}", mails[0].data)
    assert "Subject: Grüße".encode() in mails[0].data
    assert b"message/global-delivery-status" in report.data
    assert "Final-Recipient: utf-8; zoë@example.test".encode() in report.data
    # What is logged stays ASCII, for any reader.
    assert postern.log_file.read_bytes().isascii()


def test_options_change_what_is_offered_and_taken(wire):
    assert {"SIZE 65536", "LIMITS RCPTMAX=100 MAILMAX=1000", "SMTPUTF8"} <= wire.offered
    assert "DSN" not in wire.offered
    wire.command("MAIL FROM:<a@client.test> RET=FULL", 555, "5.5.4")
    wire.command("MAIL FROM:<a@client.test> SIZE=65537", 552, "5.3.4")
    wire.command("MAIL FROM:<a@client.test>", 250)
    wire.command("RCPT TO:<alice@example.test> NOTIFY=NEVER", 555, "5.5.4")
    wire.command("RCPT TO:<alice@example.test>", 250)
    for number in range(99):
        wire.command(f"RCPT TO:<alice+{number}@example.test>", 250)
    wire.command("RCPT TO:<bob@example.test>", 452, "4.5.3")
