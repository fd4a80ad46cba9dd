"""sendmail and its kin: what programs of this machine submit, by real callers.

The machine's name is example.test, so that alice is alice@example.test.
"""

import contextlib
import email
import email.header
import email.utils
import os
import pathlib
import pwd
import re
import smtplib
import subprocess
import sys
import textwrap

import pytest

import postern as harness
from postern import wait_for

NAMED = "listen on socket hostname example.test"
NOBODY = "nobody"


@pytest.fixture(scope="module")
def shared(stage):
    instance = harness.Postern(stage, extra=NAMED)
    try:
        instance.start()
        instance.add_domain("example.test")
        for user in ("alice", "bob"):
            instance.add_user(f"{user}@example.test")
        instance.add_alias("team@example.test", "alice@example.test", "bob@example.test")
        yield instance
    finally:
        instance.destroy()


@pytest.fixture
def server(shared):
    """The same for all tests, with mailboxes that are empty."""
    shared.mark_log()
    yield shared
    shared.wait_queue_empty()
    for path in shared.mail.rglob("new/*"):
        path.unlink()


def program(postern, name="sendmail", folder="sbin"):
    return postern.stage / "usr" / folder / name


def options(postern):
    """Those that lead to this instance, not to the machine's own."""
    return [f"-OSmtpSocket={postern.run}/smtp.sock", f"-OOfflineDirectory={offline(postern)}"]


def offline(postern):
    return pathlib.Path(f"{postern.spool}-offline")


def as_user(user):
    if user is None:
        return []
    entry = pwd.getpwnam(user)
    return ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}", "--clear-groups"]


def sendmail(postern, *words, text=b"Subject: x\n\nhello\n", user=None, status=0, **more):
    """Runs it; its outputs' text."""
    result = subprocess.run([*as_user(user), program(postern), *options(postern), *words],
        input=text, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=30,
        **{"cwd": "/"} | more)
    assert result.returncode == status, (result, postern.log_tail())
    return (result.stdout + result.stderr).decode()


def only(postern, user="alice"):
    (mail,) = postern.wait_mail(f"{user}@example.test")
    return mail


# What is sent


def test_a_message_arrives_with_what_a_submission_needs(server):
    assert sendmail(server, "alice") == ""
    mail = only(server)
    uid = os.getuid()
    me = pwd.getpwuid(uid).pw_name
    assert mail.body == b"hello\n"
    assert mail.message["From"].addresses[0].addr_spec == f"{me}@example.test"
    assert mail.message["Date"] and mail.message["Message-ID"]
    assert f"from localhost (local, uid {uid})" in " ".join(mail.message["Received"].split())
    line = server.wait_log("message-accepted")
    assert line["address"] == "local" and line["uid"] == str(uid)
    assert line["from"] == f"{me}@example.test" and line["to"] == "alice@example.test"


@pytest.mark.root
def test_who_sends_is_known_whatever_he_says(server):
    sendmail(server, "-f", "bob", "-F", "The Boss", "alice", user=NOBODY)
    mail = only(server)
    assert f"uid {pwd.getpwnam(NOBODY).pw_uid})" in mail.message["Received"]
    assert str(mail.message["From"]) == "The Boss <bob@example.test>"
    assert mail.message["Return-Path"] == "<bob@example.test>"


def test_recipients_come_from_the_header_and_blind_ones_are_not_shown(server):
    text = textwrap.dedent("""\
        From: Carol <carol@client.test>
        To: Friends: "Alice, A." <alice> (the first),
        \t<bob@example.test>;
        Cc: undisclosed-recipients:;, , Dr. B. (nobody <carol@x>) <bob>; bob@example.test b@x <bob>, <>
        Bcc: team@example.test
        Subject: to all

        hello
        """).encode()
    sendmail(server, "-t", text=text)
    for user in ("alice", "bob"):
        mail = only(server, user)
        assert mail.message["Bcc"] is None
        assert mail.data.count(b'"Alice, A." <alice@example.test> (the first),') == 1
        assert mail.message["From"].addresses[0].addr_spec == "carol@client.test"


@pytest.mark.parametrize("name", ["Jörg Käse", "ä" * 50, "€" * 33, "A" * 99, 'He said "hi" \\ <x@y>',
    "A (b)", "a.b"])
def test_a_full_name_is_shown_whole(server, name):
    sendmail(server, "-F", name, "alice")
    # Of the words in MIME one after another Python's own parser makes several words.
    field = email.message_from_bytes(only(server).data)["From"]
    shown, address = email.utils.parseaddr(str(email.header.make_header(
        email.header.decode_header(field))))
    assert shown == name and address.endswith("@example.test")


def test_a_message_sent_again_goes_to_those_it_is_sent_to_again(server):
    sendmail(server, "-t", text=b"Resent-To: bob\nTo: alice\nFrom: a@client.test\n\nhello\n")
    assert only(server, "bob").message["Resent-To"] == "bob@example.test"
    server.wait_queue_empty()
    assert server.mails("alice@example.test") == []


def test_all_or_none_get_it_and_the_refused_are_named(server):
    said = sendmail(server, "alice", "nobody-there", "bob", status=os.EX_NOUSER)
    assert "sendmail: nobody-there@example.test: 550 5.1.1 " in said
    assert "alice" not in said
    said = sendmail(server, "alice@elsewhere.test", "nobody-there", status=os.EX_NOPERM)
    assert "alice@elsewhere.test: 550" in said
    assert not server.log_lines("message-accepted")
    assert server.mails("alice@example.test") == []


def test_what_is_refused_comes_back_by_mail_where_the_caller_wants_that(server):
    text = b"Subject: alert\n\nhello\n"
    for words in (["-oem", "-oep"], ["-oem", "-ee"], []):
        sendmail(server, *words, "-f", "bob", "nobody-there", status=os.EX_NOUSER, text=text)
    said = sendmail(server, "-oem", "-f", "bob", "alice", "nobody-there", status=os.EX_NOUSER,
        text=text)
    assert said.startswith("sendmail: nobody-there@example.test: 550 5.1.1 ")
    mail = only(server, "bob")
    assert mail.message["Return-Path"] == "<>" and mail.message["Auto-Submitted"]
    assert b"\nThe mail server example.test has refused this message of yours, and sent it to " \
        b"nobody:\n\n    nobody-there@example.test: 550 5.1.1 " in mail.body
    assert b"Subject: alert" in mail.body and b"hello\n" in mail.body
    assert server.mails("alice@example.test") == []
    said = sendmail(server, "-em", "-f", "gone", "nobody-there", status=os.EX_NOUSER)
    assert "sendmail: the message can't be returned to its sender by mail either\n" in said


@pytest.mark.parametrize("words, dots", [("", True), ("-oi", False), ("-o i", False),
    ("-i", False), ("-vi", False), ("-oitrue", False), ("-oiTrue -om", False), ("-oifalse", True),
    ("-OIgnoreDots", False), ("-O ignoredots=yes", False), ("-i -OIgnoreDots=No", True)])
def test_a_lone_dot_ends_the_message_unless_it_is_said_not_to(server, words, dots):
    sendmail(server, *words.split(), "alice", text=b"Subject: x\n\n..\n.one\n.\nafter\n")
    assert only(server).body == (b"..\n.one\n" if dots else b"..\n.one\n.\nafter\n")


def test_the_dot_ends_it_while_the_input_stays_open(server):
    process = subprocess.Popen([program(server), *options(server), "alice"],
        stdin=subprocess.PIPE)
    process.stdin.write(b"Subject: x\n\nhello\n.\n")
    process.stdin.flush()
    assert process.wait(20) == 0
    process.stdin.close()
    assert only(server).body == b"hello\n"


@pytest.mark.parametrize("text, body", [
    (b"Subject: x\r\n\r\ncrlf\r\nends\r\n", b"crlf\r\nends\r\n"),
    (b"Subject: x\n\nno end", b"no end\r\n"),
    (b"Subject: x\n\n10%\r20%\rdone\n", b"10%\r\n20%\r\ndone\r\n"),
    (b"no header at all\nbut text\n", b"no header at all\r\nbut text\r\n"),
    (b"", b""),
    ("Subject: x\n\nKäse\n".encode(), "Käse\r\n".encode()),
    (b"Subject: x\n\n" + b"y" * 200000 + b"\n", b"y" * 200000 + b"\r\n"),
    (b"From root Mon Nov 30 10:00:00 2026\nSubject: x\n\nhello\n", b"hello\r\n"),
    (b">From root Mon Nov 30 10:00:00 2026\nSubject: x\n\n>From\n", b">From\r\n"),
    (b"Subject: x\n\nnul \0 and latin1 \xe4\n", b"nul \0 and latin1 \xe4\r\n"),
    (b"Subject: " + b"x" * 1500 + b"\n\nhello\n", b"hello\r\n"),
], ids=["crlf", "no-end", "lone-cr", "no-header", "empty", "8-bit", "long", "mailbox",
    "quoted-mailbox", "nul", "long-field"])
def test_line_ends_and_odd_texts(server, text, body):
    sendmail(server, "alice", text=text)
    assert only(server).data.replace(b"\r\n", b"\n").partition(b"\n\n")[2] == \
        body.replace(b"\r\n", b"\n")
    assert b"\nFrom: " in only(server).data


def test_a_cr_in_a_field_makes_no_other_field(server):
    sendmail(server, "-t", text=b"To: alice\nSubject: x\rBcc: bob\n\nhello\n")
    assert only(server).message["Subject"] == "x Bcc: bob"
    assert server.mails("bob@example.test") == []


def test_a_delivery_report_is_asked_for(server):
    sendmail(server, "-N", "success,delay", "-R", "hdrs", "-V", "id+1", "-f", "bob", "alice")
    only(server)
    report = only(server, "bob").data
    assert b"Action: delivered" in report and b"Original-Envelope-Id: id+1" in report


def test_addresses_above_ascii_are_sent(server):
    server.smtpctl("user", "add", "käse@example.test", input="correct horse battery\n")
    sendmail(server, "käse")
    mail = wait_for(lambda: [p for p in server.mail.rglob("new/*")], 15)
    assert b"with UTF8SMTP" in mail[0].read_bytes()


def test_usage_errors_and_what_is_not_for_this(server):
    assert "no recipients" in sendmail(server, status=os.EX_USAGE)
    assert "no recipients" in sendmail(server, "-t", status=os.EX_DATAERR)
    assert "not an address: a b" in sendmail(server, "a b", status=os.EX_DATAERR)
    assert "not an address" in sendmail(server, "-f", "a@b@c", "alice", status=os.EX_DATAERR)
    assert "To: not an address" in sendmail(server, "-t", text=b"To: John Smith\n\n",
        status=os.EX_DATAERR)
    assert "smtpd(8)" in sendmail(server, "-bd", status=os.EX_USAGE)
    sendmail(server, "-N", "perhaps", "alice", status=os.EX_USAGE)
    assert "header has more than" in sendmail(server, "alice", status=os.EX_DATAERR,
        text=b"X: " + b"y" * (1 << 21) + b"\n\n")
    assert "smtpctl explain" in sendmail(server, "-bv", "alice", status=os.EX_USAGE)
    assert sendmail(server, "-q15m") == ""
    assert not server.log_lines("smtp-connected")


def test_a_message_that_is_too_large_is_refused_with_the_servers_words(make_postern):
    server = make_postern(extra=NAMED + "\nsmtp max-message-size 100K\n")
    said = sendmail(server, "alice", text=b"Subject: x\n\n" + b"y" * 900 * 200 + b"\n",
        status=os.EX_DATAERR)
    assert "552 5.3.4" in said


def test_more_recipients_than_the_server_takes_are_refused_not_kept(make_postern):
    server = make_postern(extra=NAMED + "\nsmtp limit max-rcpt 2\n")
    said = sendmail(server, "alice", "bob", "team", status=os.EX_UNAVAILABLE)
    assert "team@example.test: 452 4.5.3" in said
    assert not server.log_lines("message-accepted")


def test_a_large_message_is_sent_whole(server):
    text = b"".join(b"%d %s\n" % (n, b"x" * n) for n in range(2500))
    sendmail(server, "alice", text=b"Subject: x\n\n" + text)
    assert only(server).body == text


def test_verbose_shows_the_dialogue(server):
    said = sendmail(server, "-v", "alice")
    assert ">>> RCPT TO:<alice@example.test>\n" in said and "<<< 354 " in said


def test_a_dialogue_on_standard_input(server):
    assert "221 " in sendmail(server, "-bs", text=b"QUIT\n")
    process = subprocess.Popen([program(server), *options(server), "-bs"], stdin=subprocess.PIPE,
        stdout=subprocess.PIPE)

    def say(line, code):
        process.stdin.write(line + b"\r\n")
        process.stdin.flush()
        assert process.stdout.readline().startswith(code), line
    assert process.stdout.readline().startswith(b"220 example.test")
    for line, code in ((b"HELO me", b"250"), (b"MAIL FROM:<a@client.test>", b"250"),
            (b"RCPT TO:<alice@example.test>", b"250"), (b"DATA", b"354"),
            (b"Subject: x\r\n\r\nby hand\r\n.", b"250"), (b"QUIT", b"221")):
        say(line, code)
    process.stdin.close()
    assert process.wait(10) == 0
    process.stdout.close()
    assert b"by hand" in only(server).body


@pytest.mark.parametrize("ends", ["crlf", "lf"])
def test_a_dialogue_may_be_written_before_the_first_reply(server, ends):
    text = textwrap.dedent("""\
        EHLO me

        MAIL FROM:<a@client.test>
        RCPT TO:<nobody-there@example.test>
        RCPT TO:<alice@example.test>
        DATA
        Subject: one

        ..dots
        . no end
        DATA
        QUIT
        .
        MAIL FROM:<a@client.test>
        RCPT TO:<alice@example.test>
        """).encode()
    if ends == "crlf":
        chunk = b"Subject: two\r\n\r\nQUIT\r\n.\r\n"
        text = text.replace(b"\n", b"\r\n") + b"BDAT %d LAST\r\n%sQUIT\r\n" % (len(chunk), chunk)
    else:
        text += b"DATA\nSubject: two\n\nlast\n.\nQUIT\nmore\n"
    said = sendmail(server, "-bs", text=text)
    assert re.findall(r"^(\d+) ", said, re.M) == ["220", "250", "500", "250", "550", "250", "354", "250",
        "250", "250", *(["250"] if ends == "crlf" else ["354", "250"]), "221"]
    mails = server.wait_mail("alice@example.test", 2)
    bodies = {mail.message["Subject"]: mail.body for mail in mails}
    assert bodies["one"] == b".dots\n no end\nDATA\nQUIT\n"
    assert len(bodies) == 2


def test_a_dialogue_that_is_cut_short_is_not_called_good(server):
    text = b"HELO me\r\nMAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\nSubject: x\r\n"
    sendmail(server, "-bs", text=text, status=os.EX_TEMPFAIL)
    sendmail(server, "-bs", text=b"HELO me\r\n" + b"NONSENSE\r\n" * 1000, status=os.EX_TEMPFAIL)
    assert server.mails("alice@example.test") == []


# The socket


def test_match_from_socket_and_the_sockets_options(make_postern):
    server = make_postern(extra=NAMED + " tag inside mask-src no-dsn",
        rules="""
            action "in" maildir virtual <accounts>
            match tag inside from socket for rcpt-to { alice@example.test } action "in"
            """)
    sendmail(server, "-N", "success", "alice")
    assert "uid" not in only(server).message["Received"]
    sendmail(server, "bob", status=os.EX_NOPERM)
    assert (server.run / "smtp.sock").stat().st_mode & 0o777 == 0o666
    with server.wire() as wire:
        wire.hello()
        wire.command("MAIL FROM:<a@client.test>", 250)
        wire.command("RCPT TO:<alice@example.test>", 550)


@pytest.mark.root
def test_a_user_who_takes_all_sessions_he_may_leaves_others_theirs(make_postern):
    server = make_postern(extra=NAMED + "\nsmtp limit sessions-per-address 3\n")
    path = str(server.run / "smtp.sock")
    with contextlib.ExitStack() as held:
        for _ in range(3):
            held.enter_context(server.wire(path=path)).expect(220)
        with server.wire(path=path) as wire:
            wire.expect(421, "too many sessions of yours")
        server.wait_log("smtp-refused", address="local, uid 0")
        sendmail(server, "alice", user=NOBODY)
        only(server)
    sendmail(server, "bob")
    only(server, "bob")


def test_the_socket_stays_through_a_reload_and_goes_with_the_server(make_postern):
    server = make_postern(extra=NAMED)
    server.smtpctl("reload")
    sendmail(server, "alice")
    only(server)
    server.stop()
    assert not (server.run / "smtp.sock").exists()
    server.start()
    sendmail(server, "alice")
    server.wait_mail("alice@example.test", 2)


# Real callers


def test_cron(server):
    # cron(8) of Debian: /usr/sbin/sendmail -FCronDaemon -i -B8BITMIME -oem USER
    sendmail(server, "-FCronDaemon", "-i", "-B8BITMIME", "-oem", "alice", text=textwrap.dedent("""\
        From: root (Cron Daemon)
        To: alice
        Subject: Cron <root@host> backup
        MIME-Version: 1.0
        Content-Type: text/plain; charset=UTF-8
        Auto-Submitted: auto-generated
        X-Cron-Env: <SHELL=/bin/sh>

        10%\r20%\rfertig, ä
        .
        """).encode())
    mail = only(server)
    assert mail.message["From"].addresses[0].addr_spec == "root@example.test"
    assert mail.message["To"] == "alice@example.test"
    assert mail.body == "10%\n20%\nfertig, ä\n.\n".encode()


def caller(server, tmp_path):
    """A sendmail that leads to this instance, for those who run one by its path."""
    script = tmp_path / "sendmail"
    script.write_text(f"#!/bin/sh\nexec {program(server)} {' '.join(options(server))} \"$@\"\n")
    script.chmod(0o755)
    return script


def test_mutt(server, tmp_path, tool):
    tool("mutt")
    (tmp_path / "muttrc").write_text(f'set sendmail="{caller(server, tmp_path)} -oem -oi"\n'
        "set from=carol@client.test use_from=yes envelope_from=yes copy=no hostname=client.test\n")
    subprocess.run(["mutt", "-n", "-F", tmp_path / "muttrc", "-s", "Grüße", "-b",
            "bob@example.test", "alice@example.test"],
        input="von mutt\n".encode(), check=True, timeout=30,
        env=os.environ | {"HOME": str(tmp_path), "TERM": "dumb", "LC_ALL": "C.UTF-8"})
    mail = only(server)
    assert mail.message["Subject"] == "Grüße" and mail.body == b"von mutt\n"
    assert mail.message["Return-Path"] == "<carol@client.test>"
    assert only(server, "bob").message["Bcc"] is None


def test_s_nail(server, tmp_path, tool):
    tool("s-nail")
    (tmp_path / "rc").write_text("")
    subprocess.run(["s-nail", "-:/", f"-Smta={caller(server, tmp_path)}", "-s", "by mail",
        "-b", "bob@example.test", "alice@example.test"], input=b"hello\n", check=True, timeout=30,
        env=os.environ | {"HOME": str(tmp_path), "MAILRC": str(tmp_path / "rc"), "TERM": "dumb"})
    assert only(server).message["Subject"] == "by mail"
    assert only(server, "bob").message["Bcc"] is None


def test_git_send_email(server, tmp_path, tool):
    tool("git")
    environment = os.environ | {"HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "Jörg", "GIT_AUTHOR_EMAIL": "j@client.test",
        "GIT_COMMITTER_NAME": "J", "GIT_COMMITTER_EMAIL": "j@client.test"}

    def git(*words):
        return subprocess.run(["git", *words], cwd=tmp_path / "tree", check=True, timeout=30,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=environment)
    (tmp_path / "tree").mkdir()
    git("init", "-q")
    (tmp_path / "tree/file").write_text(".\n..\n")
    git("add", "file")
    git("commit", "-qm", "Add a file")
    git("send-email", f"--sendmail-cmd={caller(server, tmp_path)} -i", "--confirm=never",
        "--to=alice@example.test", "--cc=Bob <bob@example.test>", "--from=j@client.test",
        "--suppress-cc=all", "-1")
    mail = only(server)
    assert "Add a file" in mail.message["Subject"] and b"\n+.\n+..\n" in mail.body
    assert server.wait_log("message-accepted")["recipients"] == "2" or only(server, "bob")


def test_python_as_its_manual_does_it(server, tmp_path):
    script = caller(server, tmp_path)
    code = f"""
from email.message import EmailMessage
from subprocess import run
m = EmailMessage()
m["To"], m["From"], m["Subject"] = "alice@example.test", "x@client.test", "päth"
m.set_content("hello\\n.\\n")
run(["{script}", "-t", "-oi"], input=m.as_bytes(), check=True)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
    assert only(server).body == b"hello\n.\n"


def test_python_over_the_socket(server):
    class Local(smtplib.LMTP):  # which alone connects to a path; but it says LHLO
        ehlo_msg = "ehlo"
    with Local(str(server.run / "smtp.sock"), local_hostname="me") as client:
        client.sendmail("a@client.test", ["alice@example.test"], b"Subject: x\r\n\r\nhello\r\n")
    assert only(server).body == b"hello\n"


def test_mailq_by_both_names(server):
    server.smtpctl("pause", "mda")
    sendmail(server, "alice")
    out = subprocess.run([program(server, "mailq", "bin"), "-s", server.socket], check=True,
        stdout=subprocess.PIPE, text=True, timeout=30).stdout
    assert "|alice@example.test|" in out
    server.smtpctl("resume", "mda")
    said = subprocess.run([program(server), "-bp"], stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=30)
    # The machine's own server, not this one.
    assert said.returncode in (0, os.EX_UNAVAILABLE)
