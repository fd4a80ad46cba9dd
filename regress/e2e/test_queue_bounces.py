"""What the sender is told: failures, delays, successes, and what happens when nobody can be told."""

import email
import email.policy

import pytest

from postern import wait_for

TEXT = "From: alice@example.test\r\nSubject: the subject\r\nX-Mark: 7\r\n\r\nbody of the message\r\n"


def accept_then_lose(postern, sender="alice@example.test", options=(), mail_options=(),
        to="carol@example.test", text=TEXT):
    """Sends to a user who is gone when the mail is to be delivered. The message's id."""
    if to == "carol@example.test":
        postern.add_user(to)
    postern.smtpctl("pause", "mda")
    with postern.smtp() as client:
        client.ehlo("client.test")
        assert client.mail(sender, list(mail_options))[0] == 250
        assert client.rcpt(to, list(options))[0] == 250
        code, words = client.data(text)
        assert code == 250, words
    postern.smtpctl("user", "del", to)
    postern.smtpctl("resume", "mda")


def report(mail):
    """The three parts of a DSN."""
    message = mail.message
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type").endswith("delivery-status")
    parts = message.get_payload()
    assert len(parts) == 3
    return parts


def fields(part):
    """The groups of a delivery-status part: per message, then one a recipient."""
    groups = part.get_payload()
    assert isinstance(groups, list)
    return [{name.lower(): value for name, value in group.items()} for group in groups]


def test_a_failure_comes_back_as_a_dsn_with_headers_only(postern):
    accept_then_lose(postern, options=["NOTIFY=FAILURE", "ORCPT=rfc822;C+2Brol@client.test"],
        mail_options=["ENVID=QQ+20314"])
    (mail,) = postern.wait_mail("alice@example.test")
    human, status, returned = report(mail)
    assert mail.message["Auto-Submitted"] == "auto-replied"
    assert b"Return-Path: <>" in mail.data
    per_message, recipient = fields(status)
    assert per_message["reporting-mta"] == "dns; mx.example.test"
    assert per_message["original-envelope-id"] == "QQ 314"
    assert "arrival-date" in per_message
    assert recipient["original-recipient"] == "rfc822;C+rol@client.test"
    assert recipient["final-recipient"] == "rfc822; carol@example.test"
    assert recipient["action"] == "failed"
    assert recipient["status"].startswith("5.")
    assert recipient["diagnostic-code"].startswith("smtp; 5")
    assert returned.get_content_type() == "text/rfc822-headers"
    assert "X-Mark: 7" in returned.get_payload()
    assert "body of the message" not in returned.get_payload()
    assert "carol@example.test" in human.get_payload()
    postern.wait_queue_empty()
    sent = postern.wait_log("bounce-sent", to="alice@example.test")
    assert sent["kind"] == "failed"
    # One log line of the failure leads to the bounce, whose id leads to its delivery.
    failed = postern.wait_log("delivery-failed", message=sent["message"])
    assert failed["envelope"].startswith(sent["message"])
    postern.wait_log("delivered", message=sent["bounce"])


def test_ret_full_brings_the_body_back(postern):
    accept_then_lose(postern, mail_options=["RET=FULL"])
    (mail,) = postern.wait_mail("alice@example.test")
    _human, _status, returned = report(mail)
    assert returned.get_content_type() == "message/rfc822"
    assert "body of the message" in returned.get_payload()[0].get_payload()


def test_failures_together_make_one_dsn(postern):
    postern.add_user("carol@example.test")
    postern.add_user("dave@example.test")
    postern.smtpctl("pause", "mda")
    postern.send(["carol@example.test", "dave@example.test"], TEXT, sender="alice@example.test")
    postern.smtpctl("user", "del", "carol@example.test")
    postern.smtpctl("user", "del", "dave@example.test")
    postern.smtpctl("resume", "mda")
    (mail,) = postern.wait_mail("alice@example.test")
    _human, status, _returned = report(mail)
    assert sorted(group["final-recipient"] for group in fields(status)[1:]) == [
        "rfc822; carol@example.test", "rfc822; dave@example.test"]
    postern.wait_queue_empty()
    assert len(postern.mails("alice@example.test")) == 1


def test_notify_never_is_honoured(postern):
    accept_then_lose(postern, options=["NOTIFY=NEVER"])
    postern.wait_log("delivery-failed", to="carol@example.test")
    postern.wait_queue_empty()
    assert postern.mails("alice@example.test") == []


def test_success_is_told_when_asked_for(postern):
    with postern.smtp() as client:
        client.ehlo("client.test")
        client.mail("alice@example.test")
        client.rcpt("bob@example.test", ["NOTIFY=SUCCESS,FAILURE"])
        assert client.data(TEXT)[0] == 250
    (mail,) = postern.wait_mail("alice@example.test")
    _human, status, returned = report(mail)
    recipient = fields(status)[1]
    assert recipient["action"] == "delivered"
    assert recipient["status"].startswith("2.")
    assert returned.get_content_type() == "text/rfc822-headers"
    postern.wait_queue_empty()
    assert len(postern.mails("bob@example.test")) == 1


@pytest.mark.parametrize("sender", ["", "nobody@example.test"])
def test_what_can_not_go_back_goes_to_the_postmaster(make_postern, sender):
    postern = make_postern(extra='postmaster "bob@example.test"')
    accept_then_lose(postern, sender=sender)
    (mail,) = postern.wait_mail("bob@example.test")
    assert "Undeliverable" in mail.message["Subject"]
    report(mail)
    assert b"Return-Path: <>" in mail.data
    postern.wait_log("double-bounce", to="bob@example.test")
    postern.wait_queue_empty()


def test_mail_the_postmaster_can_not_get_is_held_and_said(make_postern):
    postern = make_postern(extra='postmaster "bob@example.test"')
    postern.allow("is held: it can't be delivered")
    accept_then_lose(postern, sender="", to="bob@example.test")
    wait_for(lambda: [line for line in postern.log_lines() if "is held" in line.text])
    assert len(postern.queue()) == 1
    # Once there is a postmaster again it can go its way.
    postern.add_user("bob@example.test")
    postern.smtpctl("resume", "envelope", "all")
    postern.wait_mail("bob@example.test")
    postern.wait_queue_empty()


def test_a_dsn_in_the_making_survives_the_queue_s_death(postern):
    postern.add_user("carol@example.test")
    postern.smtpctl("pause", "mda")
    postern.send("carol@example.test", TEXT, sender="alice@example.test")
    postern.smtpctl("user", "del", "carol@example.test")
    postern.smtpctl("resume", "mda")
    postern.wait_log("delivery-failed", to="carol@example.test")
    postern.kill_and_wait_back("queue")
    postern.wait_mail("alice@example.test")
    postern.wait_queue_empty()


def test_a_delay_is_told_and_expiry_bounces(make_postern):
    postern = make_postern(extra="queue ttl 6s\nqueue retry-first 1s\nqueue retry-max 1s\n"
        "bounce warn-interval 2s")
    postern.send("bob@example.test")
    postern.wait_mail("bob@example.test")
    # A Maildir that isn't one: a temporary failure.
    new = postern.maildir("bob@example.test") / "new"
    kept = new.with_name("kept")
    new.rename(kept)
    new.write_text("in the way")
    postern.send("bob@example.test", TEXT, sender="alice@example.test")
    postern.wait_log("delivery-deferred", to="bob@example.test", count=2)
    first, second = postern.wait_mail("alice@example.test", 2)
    by_action = {fields(report(mail)[1])[1]["action"]: fields(report(mail)[1])[1]
        for mail in (first, second)}
    assert set(by_action) == {"delayed", "failed"}
    assert by_action["delayed"]["status"].startswith("4.")
    assert "will-retry-until" in by_action["delayed"]
    assert by_action["failed"]["status"] == "5.4.7"
    postern.wait_queue_empty()


def test_expire_bounces_now_and_remove_tells_nobody(postern):
    postern.smtpctl("pause", "mda")
    first = postern.send("bob@example.test", TEXT, sender="alice@example.test")
    second = postern.send("bob@example.test", TEXT, sender="alice@example.test")
    postern.smtpctl("remove", second)
    postern.smtpctl("expire", first)
    postern.smtpctl("resume", "mda")
    (mail,) = postern.wait_mail("alice@example.test")
    assert fields(report(mail)[1])[1]["status"] == "5.4.7"
    postern.wait_queue_empty()
    assert len(postern.mails("alice@example.test")) == 1
    assert postern.mails("bob@example.test") == []
    assert postern.wait_log("envelope-removed")["uid"]


def test_what_peers_say_can_not_break_a_dsn(postern):
    """Words that would end a line, a part or the report."""
    hostile = ("From: alice@example.test\r\nSubject: --=_boundary--\r\n"
        "Content-Type: multipart/report; boundary=\"x\"\r\n\r\n--x--\r\n")
    accept_then_lose(postern, text=hostile)
    (mail,) = postern.wait_mail("alice@example.test")
    _human, _status, returned = report(mail)
    assert "--=_boundary--" in returned.get_payload()
    parsed = email.message_from_bytes(mail.data, policy=email.policy.default)
    assert not parsed.defects
