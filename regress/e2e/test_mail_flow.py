"""Mail's way from the connection to the Maildir."""

import email.policy
import hashlib
import re

import pytest

from postern import message_id, wait_for

MESSAGE = ("From: Erin <erin@client.test>\r\nTo: Alice <alice@example.test>\r\n"
    "Subject: a subject\r\n\r\nFirst line.\r\n\r\n..\r\n.dots\r\n\ttab and trailing blanks  \r\n")


def test_message_arrives_with_trace_fields_and_its_own_bytes(postern):
    postern.send("alice@example.test", MESSAGE, sender="erin@client.test")
    (mail,) = postern.wait_mail("alice@example.test")
    assert mail.folder == "new"
    stored = mail.data.replace(b"\r\n", b"\n")
    ours, theirs = stored[: stored.index(b"From: Erin")], stored[stored.index(b"From: Erin"):]
    assert theirs == MESSAGE.replace("\r\n", "\n").encode()
    assert re.search(rb"^Return-Path: <erin@client\.test>$", ours, re.MULTILINE)
    assert re.search(rb"^Delivered-To: alice@example\.test$", ours, re.MULTILINE)
    # RFC 5321 4.4
    assert re.search(rb"^Received: from client\.test \(.*127\.0\.0\.1.*\)\n", ours, re.MULTILINE)
    assert re.search(rb"\n\s+by mx\.example\.test\b.*\bwith ESMTP\b.*\bid [0-9a-f]{8}\b", ours,
        re.DOTALL)
    assert re.search(rb"\bfor <alice@example\.test>;", ours)


def test_delivery_begins_as_soon_as_the_mail_is_safe(postern):
    """The mailbox is idle each time; the queue's own tick comes once a second."""
    for number in range(5):
        with postern.smtp() as client:
            client.sendmail("a@client.test", "alice@example.test", b"Subject: x\r\n\r\nx\r\n")
        wait_for(lambda want=number + 1: len(postern.log_lines(event="delivered")) == want)
    delays = sorted(int(line["delay_ms"]) for line in postern.log_lines(event="delivered"))
    assert delays[2] < 300, delays


def test_reply_names_the_id_that_the_log_follows_to_the_file(postern):
    message = postern.send("alice@example.test", MESSAGE, sender="erin@client.test")
    (mail,) = postern.wait_mail("alice@example.test")
    accepted = postern.wait_log("message-accepted", message=message)
    delivered = postern.wait_log("delivered", message=message)
    assert delivered["envelope"].startswith(message)
    assert delivered["to"] == "alice@example.test"
    assert delivered["file"] == str(mail.path)
    (connected,) = postern.log_lines("smtp-connected", session=accepted["session"])
    assert connected["port"] == str(postern.port)
    postern.wait_log("smtp-disconnected", session=accepted["session"])


def test_every_recipient_of_a_message_gets_it_once(postern):
    postern.send(["alice@example.test", "bob@example.test"])
    postern.wait_mail("alice@example.test")
    postern.wait_mail("bob@example.test")
    postern.wait_queue_empty()
    assert len(postern.mails("alice@example.test")) == 1
    assert len(postern.mails("bob@example.test")) == 1


def test_an_alias_and_its_target_together_give_one_copy(postern):
    postern.send(["team@example.test", "alice@example.test", "alice@example.test"])
    postern.wait_mail("bob@example.test")
    postern.wait_mail("alice@example.test")
    postern.wait_queue_empty()
    assert len(postern.mails("alice@example.test")) == 1
    assert len(postern.mails("bob@example.test")) == 1


def test_addresses_match_without_regard_to_case(postern):
    postern.send("ALICE@Example.TEST")
    postern.wait_mail("alice@example.test")


def test_a_detail_after_plus_is_the_user_s(postern):
    postern.send("alice+lists@example.test")
    postern.wait_mail("alice@example.test")


@pytest.mark.parametrize("recipient, code, enhanced", [
    ("nobody@example.test", 550, "5.1.1"),
    ("someone@elsewhere.test", 550, "5.7.1"),
])
def test_what_is_not_ours_is_refused_at_rcpt(postern, recipient, code, enhanced):
    with postern.wire() as wire:
        wire.hello()
        wire.command("MAIL FROM:<erin@client.test>", 250)
        wire.command(f"RCPT TO:<{recipient}>", code, enhanced)
        wire.command("DATA", 5)
        wire.command("QUIT", 221)
    line = postern.wait_log("rcpt-refused", to=recipient)
    assert enhanced in line["reply"]


def test_accounts_take_effect_at_once(postern):
    def rcpt(address):
        with postern.smtp() as client:
            client.ehlo()
            client.mail("erin@client.test")
            return client.rcpt(address)[0]
    assert rcpt("carol@example.test") == 550
    postern.add_user("carol@example.test")
    assert rcpt("carol@example.test") == 250
    postern.smtpctl("user", "del", "carol@example.test")
    assert rcpt("carol@example.test") == 550
    assert rcpt("x@second.test") == 550
    postern.add_domain("second.test")
    postern.add_alias("x@second.test", "alice@example.test")
    assert rcpt("x@second.test") == 250
    postern.smtpctl("alias", "del", "x@second.test")
    assert rcpt("x@second.test") == 550


def test_null_sender_is_taken_and_kept(postern):
    postern.send("alice@example.test", sender="")
    (mail,) = postern.wait_mail("alice@example.test")
    assert re.search(rb"^Return-Path: ?<>", mail.data, re.MULTILINE)


def test_a_large_message_is_kept_byte_for_byte(postern):
    lines = [hashlib.sha512(str(n).encode()).hexdigest() for n in range(50000)]
    body = "\r\n".join(lines) + "\r\n"
    with postern.smtp() as client:
        client.sendmail("erin@client.test", ["alice@example.test", "bob@example.test"],
            "Subject: large\r\n\r\n" + body)
    for user in ("alice", "bob"):
        (mail,) = postern.wait_mail(f"{user}@example.test")
        assert mail.body == body.replace("\r\n", "\n").encode()


def test_undeliverable_mail_comes_back_as_a_delivery_status_notification(postern):
    """RFC 3464, for a mailbox that went away between RCPT and delivery."""
    postern.add_user("carol@example.test")
    postern.smtpctl("pause", "mda")
    message = postern.send("carol@example.test", MESSAGE, sender="alice@example.test")
    (envelope,) = postern.queue()
    assert envelope["id"].startswith(message)
    postern.smtpctl("user", "del", "carol@example.test")
    postern.smtpctl("resume", "mda")
    (mail,) = postern.wait_mail("alice@example.test")
    report = email.message_from_bytes(mail.data, policy=email.policy.SMTP)
    assert report.get_content_type() == "multipart/report"
    assert report.get_param("report-type") == "delivery-status"
    words, status, original = report.iter_parts()
    assert words.get_content_type() == "text/plain"
    assert "carol@example.test" in words.get_content()
    recipient = status.get_payload()[1]
    assert recipient["Final-Recipient"] == "rfc822;carol@example.test" or \
        recipient["Final-Recipient"] == "rfc822; carol@example.test"
    assert recipient["Action"] == "failed"
    assert recipient["Status"].startswith("5.")
    assert original.get_content_type() == "text/rfc822-headers"
    assert "Subject: a subject" in original.as_string()
    assert re.search(rb"^Return-Path: ?<>", mail.data, re.MULTILINE)
    postern.wait_log("bounce-sent", message=message)
    postern.wait_queue_empty()


def test_queue_shows_what_waits(postern):
    postern.smtpctl("pause", "mda")
    message = postern.send(["alice@example.test", "bob@example.test"], sender="erin@client.test")
    lines = postern.smtpctl("show", "queue").stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        fields = line.split("|")
        assert len(fields) == 14
        assert fields[0].startswith(message) and len(fields[0]) == 16
        assert fields[1] == "inet4"
        assert fields[4] == "erin@client.test"
        assert fields[11] == "pending"
    text = postern.smtpctl("show", "message", message).stdout
    assert "Subject: test" in text
    postern.smtpctl("resume", "mda")
    postern.wait_mail("alice@example.test")
    postern.wait_mail("bob@example.test")
    postern.wait_queue_empty()


def test_many_messages_in_one_session_all_arrive(postern):
    with postern.smtp() as client:
        for number in range(200):
            client.sendmail("erin@client.test", "alice@example.test",
                f"Subject: {number}\r\n\r\n{number}\r\n")
    mails = postern.wait_mail("alice@example.test", 200)
    assert sorted(int(mail.message["Subject"]) for mail in mails) == list(range(200))


def test_two_instances_run_side_by_side(make_postern):
    one, two = make_postern(), make_postern()
    assert one.port != two.port
    one.send("alice@example.test", "Subject: one\r\n\r\n1\r\n")
    two.send("alice@example.test", "Subject: two\r\n\r\n2\r\n")
    assert one.wait_mail("alice@example.test")[0].message["Subject"] == "one"
    assert two.wait_mail("alice@example.test")[0].message["Subject"] == "two"
    one.stop()
    two.send("bob@example.test")
    two.wait_mail("bob@example.test")


@pytest.mark.root
def test_runs_as_an_ordinary_user(make_postern):
    instance = make_postern(user="nobody")
    instance.send("team@example.test")
    instance.wait_mail("alice@example.test")
    instance.wait_mail("bob@example.test")


@pytest.mark.root
def test_each_process_is_a_user_of_its_own(postern_with_imap):
    """DESIGN: the table of programs and trust boundaries."""
    import pwd
    postern = postern_with_imap
    wanted = {"smtpd": "root", "listener": "_smtpd", "keeper": "_smtpk", "queue": "_smtpq", "directory": "_smtpt",
        "resolver": "_smtpl", "control": "_smtpc", "relay": "_smtpr",
        "mailaccess": "_smtpa"}
    for pid, program in postern.pids().items():
        status = dict(line.split(":\t", 1) for line in
            open(f"/proc/{pid}/status", encoding="utf-8").read().splitlines() if ":\t" in line)
        if program not in wanted or program == "smtpd":
            continue
        uids = {int(word) for word in status["Uid"].split()}
        assert uids == {pwd.getpwnam(wanted[program]).pw_uid}, program
        assert status["NoNewPrivs"].strip() == "1", program
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(status[name], 16) == 0, (program, name)
        assert status["Groups"].split() in ([], [status["Gid"].split()[0]]), program
    assert {name for name in postern.pids().values()} >= set(wanted)


@pytest.mark.root
def test_an_mda_is_the_owner_of_its_mailboxes(postern):
    import pwd
    postern.smtpctl("pause", "mda")
    postern.send("alice@example.test")
    postern.smtpctl("resume", "mda")
    (mail,) = postern.wait_mail("alice@example.test")
    owner = pwd.getpwnam("_vmail").pw_uid
    assert mail.path.stat().st_uid == owner
    assert mail.path.stat().st_mode & 0o077 == 0
    for pid in postern.pids("mda"):
        status = open(f"/proc/{pid}/status", encoding="utf-8").read()
        assert re.search(rf"^Uid:\t{owner}\t{owner}\t{owner}\t{owner}$", status, re.MULTILINE)


def test_message_ids_differ(postern):
    ids = set()
    with postern.smtp() as client:
        for _ in range(20):
            client.ehlo_or_helo_if_needed()
            client.mail("erin@client.test")
            client.rcpt("alice@example.test")
            ids.add(message_id(client.data(b"Subject: x\r\n\r\nx\r\n")[1].decode()))
    assert len(ids) == 20
    wait_for(lambda: len(postern.mails("alice@example.test")) == 20)
