"""The owner's Sieve script at work: folders and flags, what is sent on, sent back and answered."""

import email.header
import os

from postern import wait_for
from smtp_peer import Peer

ALICE, BOB, CAROL = "alice@example.test", "bob@example.test", "carol@example.test"


def set_script(postern, address, text):
    """Makes it the active one, as a user does who has a shell."""
    box = postern.maildir(address)
    if not box.is_dir():
        postern.send(address, "Subject: first\r\n\r\n")
        postern.wait_mail(address)
        for mail in postern.mails(address):
            mail.path.unlink()
    folder = box / "sieve"
    folder.mkdir(exist_ok=True)
    (folder / "new").write_text(text)
    (folder / "new").rename(folder / "main.sieve")
    if not (folder / "active").is_symlink():
        (folder / "active").symlink_to("main.sieve")
    owner = box.stat()
    for path in (folder, folder / "main.sieve"):
        os.chown(path, owner.st_uid, owner.st_gid)


def folder(postern, address, name):
    return postern.mails(postern.maildir(address) / name)


def mail(subject="hello", to=ALICE, sender=BOB, more=""):
    return f"From: {sender}\r\nTo: {to}\r\nSubject: {subject}\r\n{more}\r\nthe body\r\n"


def test_mail_goes_into_folders_with_flags(postern):
    set_script(postern, ALICE, """require ["fileinto", "mailbox", "imap4flags", "variables", "copy"];
if header :matches "subject" "[*]*" { fileinto :create "Lists.${1}"; }
elsif header "subject" "seen" { addflag "\\\\Seen"; fileinto :create :copy "Done"; }
elsif header "subject" "junk" { discard; }
""")
    for subject in ("[dev] one", "seen", "junk", "other"):
        postern.send(ALICE, mail(subject))
    postern.wait_queue_empty()
    assert [m.message["Subject"] for m in folder(postern, ALICE, ".Lists.dev")] == ["[dev] one"]
    (listed,) = folder(postern, ALICE, ".Lists.dev")
    (done,) = folder(postern, ALICE, ".Done")
    assert done.folder == "cur" and done.name.endswith(":2,S")
    assert sorted(m.message["Subject"] for m in postern.mails(ALICE)) == ["other", "seen"]
    lines = postern.log_lines("delivered")
    assert len(lines) == 5
    assert str(listed.path) in [line.fields.get("file") for line in lines]
    assert [line["note"] for line in lines if "file" not in line.fields] == [
        "not stored, as its owner's script says"]


def test_a_script_that_is_wrong_costs_no_mail(postern):
    set_script(postern, ALICE, "discard; nonsense;")
    postern.allow("sieve-error")
    postern.send(ALICE, mail())
    postern.wait_mail(ALICE)
    assert postern.wait_log("sieve-error", error='line 1: unknown command "nonsense"')


def test_redirected_mail_arrives_as_it_was_and_is_not_kept(postern):
    set_script(postern, ALICE, f'redirect "{BOB}";')
    postern.send(ALICE, mail(more="Message-ID: <1@x.test>\r\n"), sender=CAROL)
    (got,) = postern.wait_mail(BOB)
    assert got.message["Subject"] == "hello" and got.body == b"the body\n"
    assert f"Return-Path: <{CAROL}>".encode() in got.data
    postern.wait_queue_empty()
    assert postern.mails(ALICE) == []
    assert postern.log_lines("redirected", to=BOB)


def test_a_large_message_is_redirected_too_and_after_a_restart(postern):
    set_script(postern, ALICE, f'require "copy"; redirect :copy "{BOB}";')
    postern.smtpctl("pause", "mda")
    postern.send(ALICE, mail() + "x" * 70 + "\r\n" + ("y" * 70 + "\r\n") * 30000)
    postern.crash()
    postern.start()
    postern.smtpctl("resume", "mda")
    (got,) = postern.wait_mail(BOB)
    (kept,) = postern.wait_mail(ALICE)
    assert got.body == kept.body and len(got.body) > 2_000_000
    postern.wait_queue_empty()
    wait_for(lambda: not list((postern.spool / "large").iterdir()), what="no file is left")


def test_mail_is_redirected_to_a_command_too_and_after_a_restart(make_postern):
    postern = make_postern(rules='table aliases { archive = "|cat @BASE@/out/go > @BASE@/out/mail || exit 75" }\n'
        'action "in" maildir\naction "archive" expand-only alias <aliases> pipes\n'
        'match from any for domain "example.test" action "in"\n'
        'match from any for domain "archive.test" action "archive"\n')
    out = postern.base / "out"
    out.mkdir()
    out.chmod(0o777)
    set_script(postern, ALICE, 'redirect "archive@archive.test";')
    postern.send(ALICE, mail())
    (waiting,) = wait_for(lambda: [e for e in postern.queue() if e["tries"] > 0])
    assert waiting["error"].startswith("451 ") and waiting["dest"] == "archive@archive.test"
    postern.crash()
    postern.start()
    (out / "go").write_text("go")
    postern.smtpctl("schedule", "all")
    postern.wait_queue_empty()
    assert (out / "mail").read_text() == "go" and not postern.log_lines("delivery-failed")


def test_mail_is_redirected_and_answered_to_other_servers(make_postern):
    with Peer(port=None) as peer:
        postern = make_postern(rules=f"""
            action "in" maildir virtual <accounts>
            action "out" relay host "smtp+notls://[{peer.address}]:{peer.port}" srs
            match from any for domain <accounts> action "in"
            match from local for any action "out"
            """, extra='srs key "secret"')
        set_script(postern, ALICE,
            'require "vacation"; redirect "ann@far.test"; vacation :subject "Away" "Back on Monday.";')
        postern.send(ALICE, mail(sender="x@other.test"), sender="x@other.test")
        sent = {message.recipients[0]: message for message in peer.wait_messages(2)}
        assert sent["ann@far.test"].sender.startswith("SRS0=")
        assert sent["ann@far.test"].sender.endswith("=other.test=x@example.test")
        assert b"Delivered-To: alice@example.test" in sent["ann@far.test"].data
        assert sent["ann@far.test"].data.replace(b"\r", b"").endswith(b"\n\nthe body\n")
        assert sent["x@other.test"].sender == ""
        assert b"\nSubject: Away\n" in sent["x@other.test"].data.replace(b"\r", b"")
        postern.wait_queue_empty()


def test_a_loop_ends_and_the_mail_is_kept(postern):
    set_script(postern, ALICE, f'redirect "{BOB}";')
    set_script(postern, BOB, f'redirect "{ALICE}";')
    postern.send(ALICE, mail(), sender=CAROL)
    (got,) = postern.wait_mail(BOB)
    assert got.message["Subject"] == "hello"
    postern.wait_queue_empty()
    assert postern.mails(ALICE) == []


def test_redirection_to_nobody_comes_back_to_the_sender(postern):
    set_script(postern, ALICE, f'redirect "nobody@example.test"; redirect "{BOB}";')
    postern.add_user(CAROL)
    postern.send(ALICE, mail(), sender=CAROL)
    postern.wait_mail(BOB)
    (report,) = postern.wait_mail(CAROL)
    assert b"Redirected to nobody@example.test" in report.data
    postern.wait_queue_empty()


def test_rejected_mail_comes_back_with_the_text(postern):
    set_script(postern, ALICE, 'require "reject"; reject text:\nI have moved.\nWrite elsewhere.\n.\n;')
    postern.send(ALICE, mail(), sender=BOB)
    (report,) = postern.wait_mail(BOB)
    assert report.message.get_content_type() == "multipart/report"
    assert b"I have moved. Write elsewhere." in report.data
    postern.wait_queue_empty()
    assert postern.mails(ALICE) == []


def test_an_absence_is_told_once_to_each_sender(postern):
    set_script(postern, ALICE, '''require "vacation";
vacation :days 3 :from "Alice \\"A\\" <alice@example.test>" text:
Grüße, I am away.
.
;''')
    for number in range(3):
        postern.send(ALICE, mail(f"question {number}é", more=f"Message-ID: <{number}@x.test>\r\n"
            "References: <0@x.test> <bad\r\n"), sender=BOB)
        postern.wait_queue_empty()
    # Nobody who asked for no answer gets one.
    for more, sender in (("List-Id: x\r\n", CAROL), ("Auto-Submitted: auto-generated\r\n", CAROL),
            ("", ""), ("X-No: one\r\n", "list-request@example.test")):
        postern.send(ALICE, mail(more=more), sender=sender)
    postern.send(ALICE, mail(to="list@example.test"), sender=CAROL)
    postern.send("team@example.test", mail(to="team@example.test"), sender=CAROL)
    postern.wait_queue_empty()
    reply, _ = postern.mails(BOB)
    message = reply.message
    assert b"Return-Path: <>" in reply.data
    assert message["Auto-Submitted"] == "auto-replied"
    assert b'From: "Alice A" <alice@example.test>' in reply.data and message["To"] == BOB
    assert str(email.header.make_header(email.header.decode_header(message["Subject"]))) == \
        "Auto: question 0é"
    assert message["In-Reply-To"] == "<0@x.test>" and message["References"].split()[0] == "<0@x.test>"
    assert message.get_content().strip() == "Grüße, I am away."
    assert len(postern.mails(ALICE)) == 9 and postern.log_lines("replied", to=BOB)


def test_replies_of_other_addresses_are_written_as_the_recipient(postern):
    set_script(postern, ALICE, '''require "vacation";
vacation :mime :subject "Away" :from "The boss <boss@elsewhere.test>" text:
Content-Type: text/html
Bcc: victim@elsewhere.test

<b>away</b>
.
;''')
    postern.send(ALICE, mail(), sender=BOB)
    (reply,) = postern.wait_mail(BOB)
    assert b'From: "The boss" <alice@example.test>' in reply.data
    assert reply.message["Bcc"] is None and reply.message.get_content_type() == "text/html"
    assert reply.body == b"<b>away</b>\n"


def test_duplicates_are_known_and_a_second_try_is_none(postern):
    set_script(postern, ALICE, 'require ["duplicate"]; if duplicate { discard; }')
    for _ in range(3):
        postern.send(ALICE, mail(more="Message-ID: <same@x.test>\r\n"))
        postern.wait_queue_empty()
    assert len(postern.mails(ALICE)) == 1


def test_an_mda_that_dies_sends_again_rather_than_not_at_all(make_postern):
    postern = make_postern(extra="queue retry-first 1s\nqueue retry-max 2s")
    set_script(postern, ALICE, f'redirect "{BOB}"; keep;')
    for number in range(6):
        postern.send(ALICE, mail(f"n{number}"), sender=CAROL)
        if number % 3 == 1 and postern.pids("mda"):
            postern.kill("mda")
    expected = {f"n{number}" for number in range(6)}
    wait_for(lambda: {m.message["Subject"] for m in postern.mails(BOB)} == expected, 30,
        "all are redirected")
    postern.wait_queue_empty(30)
    assert sorted(m.message["Subject"] for m in postern.mails(ALICE)) == sorted(expected)
