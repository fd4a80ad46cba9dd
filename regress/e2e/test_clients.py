"""Programs of others as clients: swaks, Postfix's smtp-source, netcat-like raw pipelining; and
configurations of OpenSMTPD's."""

import subprocess
import textwrap

import pytest

from postern import free_port, is_root


def run(*words, timeout=90):
    return subprocess.run([str(word) for word in words], stdin=subprocess.DEVNULL, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout, errors="replace")


def test_swaks_sends_to_two_recipients_and_attaches(postern, tool, tmp_path):
    attachment = tmp_path / "picture.bin"
    attachment.write_bytes(bytes(range(256)) * 400)
    result = run(tool("swaks"), "--server", f"127.0.0.1:{postern.port}", "--from",
        "erin@client.test", "--to", "alice@example.test,bob@example.test", "--header",
        "Subject: from swaks", "--attach", f"@{attachment}")
    assert result.returncode == 0, result.stdout
    for user in ("alice", "bob"):
        (mail,) = postern.wait_mail(f"{user}@example.test")
        assert mail.message["Subject"] == "from swaks"
        parts = [part.get_payload(decode=True) for part in mail.message.walk()]
        assert attachment.read_bytes() in parts


def test_swaks_pipelines(postern, tool):
    result = run(tool("swaks"), "--server", f"127.0.0.1:{postern.port}", "--pipeline", "--from",
        "erin@client.test", "--to", "alice@example.test")
    assert result.returncode == 0, result.stdout
    postern.wait_mail("alice@example.test")


def test_swaks_is_told_of_an_unknown_user(postern, tool):
    result = run(tool("swaks"), "--server", f"127.0.0.1:{postern.port}", "--from",
        "erin@client.test", "--to", "nobody@example.test")
    assert result.returncode == 24, result.stdout  # swaks: no recipient was accepted
    assert "550 5.1.1" in result.stdout


def test_smtp_source_floods_from_many_sessions_and_nothing_is_lost(postern, tool):
    count = 1000
    result = run(tool("smtp-source"), "-s", 20, "-m", count, "-l", 2048, "-f", "erin@client.test",
        "-t", "alice@example.test", f"127.0.0.1:{postern.port}")
    assert result.returncode == 0, result.stdout
    mails = postern.wait_mail("alice@example.test", count, timeout=60)
    assert len(mails) == count
    assert len({mail.name for mail in mails}) == count
    assert {len(mail.body) for mail in mails} == {len(mails[0].body)}
    postern.wait_queue_empty()


def test_smtp_source_keeps_connections_open_with_d(postern, tool):
    result = run(tool("smtp-source"), "-d", "-s", 5, "-m", 200, "-l", 512, "-f", "erin@client.test",
        "-t", "bob@example.test", f"127.0.0.1:{postern.port}")
    assert result.returncode == 0, result.stdout
    assert len(postern.wait_mail("bob@example.test", 200, timeout=60)) == 200


def test_smtp_source_sends_to_many_recipients(postern, tool):
    """-r: the recipients are 1alice@, 2alice@, …: a catch-all takes them."""
    postern.add_alias("@example.test", "bob@example.test")
    result = run(tool("smtp-source"), "-s", 2, "-m", 10, "-r", 50, "-f", "erin@client.test", "-t",
        "x@example.test", f"127.0.0.1:{postern.port}")
    assert result.returncode == 0, result.stdout
    # All fifty recipients of a message lead to bob's mailbox: one copy each.
    postern.wait_mail("bob@example.test", 10)
    postern.wait_queue_empty()
    assert len(postern.mails("bob@example.test")) == 10


@pytest.mark.root
def test_a_configuration_of_opensmtpd_runs_as_it_is(make_postern):
    """Virtual users, a userbase, a relay rule whose host is down."""
    def config(instance):
        base = instance.base
        users = [f"u{number}" for number in range(1, 4)] + ["u"]
        (base / "mail-vusers").write_text("".join(f"{u}@example.test {u}\n" for u in users))
        (base / "mail-vbase").write_text("".join(f"{u} 5000:5000:{base}/vmail\n" for u in users))
        (base / "vmail").mkdir(exist_ok=True)
        if is_root():
            import os
            os.chown(base / "vmail", 5000, 5000)
        return textwrap.dedent(f"""\
            table vusers file:{base}/mail-vusers
            table vbase file:{base}/mail-vbase
            smtp max-message-size 100M
            smtp limit max-mails 10000000
            listen on 127.0.0.1 port @PORT@ hostname mx.example.test
            action "in" maildir "{base}/vmail/%{{dest.user:lowercase}}" virtual <vusers> userbase <vbase>
            action "out" relay host "smtp://127.0.0.1:{free_port()}"
            match from any for domain "example.test" action "in"
            match from any for domain "remote.test" action "out"
            """)
    instance = make_postern(config=config, accounts=False)
    instance.send("U2@example.test", "Subject: virtual\r\n\r\nx\r\n")
    (mail,) = instance.wait_mail(instance.base / "vmail/u2")
    assert mail.message["Subject"] == "virtual"
    assert mail.path.stat().st_uid == 5000
    with instance.smtp() as client:
        client.ehlo()
        client.mail("erin@client.test")
        assert client.rcpt("u9@example.test")[0] == 550
    instance.send("someone@remote.test")
    (envelope,) = instance.queue()
    assert envelope["to"] == "someone@remote.test"
    instance.restart()
    (again,) = instance.queue()
    assert again["id"] == envelope["id"]
