"""Quotas at RCPT, and users that go away between RCPT and delivery."""

from postern import wait_for

BODY = "Subject: large\r\n\r\n" + ("x" * 70 + "\r\n") * 1000  # 72,000 bytes and more


def rcpt(postern, address, options=""):
    with postern.wire() as wire:
        wire.hello()
        wire.command(f"MAIL FROM:<sender@client.test>{options}", 250)
        return repr(wire.command(f"RCPT TO:<{address}>"))


def test_a_full_mailbox_is_refused_at_rcpt_until_its_quota_is_raised(postern):
    postern.smtpctl("user", "quota", "alice@example.test", "100K")
    assert rcpt(postern, "alice@example.test", " SIZE=50000").startswith("250")
    postern.send("alice@example.test", BODY)
    postern.wait_mail("alice@example.test")
    assert rcpt(postern, "alice@example.test", " SIZE=50000").startswith("452 4.2.2")
    # Others aren't touched, and a small message still fits.
    assert rcpt(postern, "bob@example.test", " SIZE=50000").startswith("250")
    assert rcpt(postern, "alice@example.test", " SIZE=1000").startswith("250")
    postern.smtpctl("user", "quota", "alice@example.test", "1M")
    assert rcpt(postern, "alice@example.test", " SIZE=50000").startswith("250")
    postern.smtpctl("user", "quota", "alice@example.test", "none")
    assert rcpt(postern, "alice@example.test", " SIZE=5000000").startswith("250")


def test_a_quota_of_messages_counts_them(postern):
    postern.smtpctl("user", "quota", "alice@example.test", "1G", "2")
    postern.send("alice@example.test")
    postern.send("alice@example.test")
    postern.wait_mail("alice@example.test", 2)
    assert rcpt(postern, "alice@example.test").startswith("452 4.2.2")


def test_a_message_larger_than_the_whole_quota_is_refused(postern):
    postern.smtpctl("user", "quota", "alice@example.test", "10K")
    assert rcpt(postern, "alice@example.test", " SIZE=20000").startswith("452 4.2.2")


def test_one_full_member_keeps_no_mail_from_the_list(postern):
    postern.smtpctl("user", "quota", "alice@example.test", "1G", "1")
    postern.send("alice@example.test")
    postern.wait_mail("alice@example.test")
    assert rcpt(postern, "alice@example.test").startswith("452 4.2.2")
    assert rcpt(postern, "team@example.test").startswith("250")


def test_a_user_deleted_between_rcpt_and_delivery_bounces(postern):
    postern.smtpctl("pause", "mda")
    postern.send("bob@example.test", sender="alice@example.test")
    postern.smtpctl("user", "del", "bob@example.test")
    postern.smtpctl("resume", "mda")
    (mail,) = postern.wait_mail("alice@example.test")
    assert "5.1.1" in mail.data.decode()
    wait_for(lambda: not postern.queue(), 10)
    assert not postern.mails("bob@example.test")
