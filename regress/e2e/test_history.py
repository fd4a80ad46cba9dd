"""smtpctl trace message: the whole life of a message, by id, Message-ID or address."""

import errno
import json
import os
import re
import socket
import time

import pytest

from faults import faults, faults_library  # noqa: F401
from postern import free_port, is_root, wait_for
from smtp_peer import Peer

RULES = """
action "in" maildir virtual <accounts>
action "out" relay host smtp://{peer.address}:{peer.port}
match from any for domain <accounts> action "in"
match from any for domain "far.test" action "out"
"""


def trace(postern, what, check=True):
    """The events, in order; None when nothing is known."""
    done = postern.smtpctl("-j", "trace", "message", what, check=False)
    if done.returncode == 65 and not check:
        return None
    assert done.returncode == 0, done
    return [json.loads(line) for line in done.stdout.splitlines()]


def wait_trace(postern, what, last):
    """The events, once the last one is such."""
    def look():
        events = trace(postern, what, check=False)
        return events if events and events[-1]["event"] == last else None
    return wait_for(look, 15, lambda: trace(postern, what, check=False))


def kinds(events):
    return [event["event"] for event in events]


def test_a_mail_to_an_alias_is_told_from_the_client_to_the_files(postern):
    text = "Message-ID: <first@client.test>\r\nSubject: x\r\n\r\nhello\r\n"
    message = postern.send("team@example.test", text)
    postern.wait_queue_empty()
    events = wait_trace(postern, message, "delivered")
    assert kinds(events) == ["received", "recipient", "recipient", "delivered", "delivered"]
    received, *recipients = events[:3]
    assert received["from"] == "sender@client.test" and received["client"] == "127.0.0.1"
    assert received["client_name"] == "localhost" and received["message_id"] == "<first@client.test>"
    assert received["size"] > 50 and "helo" in received and received["message"] == message
    assert {event["to"] for event in recipients} == {"alice@example.test", "bob@example.test"}
    rule = [number for number, line in enumerate(postern.config_file.read_text().splitlines(), 1)
        if line.startswith("match")]
    assert all(event["rcpt"] == "team@example.test" and event["rule"] == rule[0] and
        event["action"] == "in" and event["method"] == "mailbox" for event in recipients)
    delivered = {event["to"]: event for event in events[3:]}
    for address in ("alice@example.test", "bob@example.test"):
        (mail,) = postern.mails(address)
        assert delivered[address]["file"] == str(mail.path)
        assert delivered[address]["mailbox"] == address and delivered[address]["tries"] == 1
        assert re.match(r"250 ", delivered[address]["reply"])
    # The same by all its names, whatever the case.
    for what in ("<first@client.test>", "first@client.test", "sender@client.test",
            "TEAM@example.test", "bob@example.test", message.upper()):
        assert trace(postern, what) == events
    one = trace(postern, recipients[0]["envelope"])
    assert kinds(one) == ["received", "recipient", "delivered"]
    assert trace(postern, "nobody@example.test", check=False) is None
    assert trace(postern, "ffffffff", check=False) is None
    # In words.
    lines = postern.smtpctl("trace", "message", message).stdout.splitlines()
    assert lines[0] == f"message {message}" and len(lines) == 6
    assert re.search(r"received  from <sender@client.test>, client 127\.0\.0\.1 \(localhost\), helo",
        lines[1])
    assert re.search(r"recipient [0-9a-f]{16} <team@example.test> to <(alice|bob)@example.test>, "
        rf"mailbox by action in, rule in line {rule[0]}$", lines[2])


def test_a_mail_deferred_twice_and_relayed_tells_the_other_sides_words(make_postern):
    with Peer(port=free_port()) as peer:
        for reply in (b"451 4.7.1 come back\x1b[31m later\r\n", "450 4.2.0 busy"):
            peer.on("RCPT", reply)
        postern = make_postern(rules=RULES.format(peer=peer),
            extra="queue retry-first 1s\nqueue retry-max 1s\n")
        message = postern.send("user@far.test")
        events = wait_trace(postern, message, "delivered")
    assert kinds(events) == ["received", "recipient", "deferred", "deferred", "delivered"]
    assert "come back" in events[2]["reply"] and events[2]["reply"].startswith("451 4.7.1")
    assert events[2]["host"] and events[2]["next_try"] >= 0 and events[2]["tries"] == 1
    assert events[2]["address"] == peer.address
    assert "busy" in events[3]["reply"] and events[3]["tries"] == 2
    assert events[4]["method"] == "relay" and events[4]["address"] == peer.address
    assert events[4]["tries"] == 3 and events[4]["delay_ms"] > 900


def test_a_failure_and_its_bounce_are_told(make_postern):
    with Peer(port=free_port()) as peer:
        peer.on("RCPT", "550 5.1.1 no such user")
        postern = make_postern(rules=RULES.format(peer=peer))
        message = postern.send("user@far.test", sender="alice@example.test")
        events = wait_trace(postern, message, "notified")
    assert kinds(events) == ["received", "recipient", "failed", "notified"]
    assert events[2]["reply"] == "550 5.1.1 no such user"
    assert events[3]["to"] == "alice@example.test" and events[3]["about"] == "failed"
    bounce = wait_trace(postern, events[3]["by"], "delivered")
    assert bounce[0]["message"] == message and bounce[0]["event"] == "notified"
    assert bounce[1]["from"] == "" and bounce[1]["about"] == "bounce"
    assert bounce[-1]["mailbox"] == "alice@example.test"
    lines = postern.smtpctl("trace", "message", events[3]["by"]).stdout.splitlines()
    assert lines[0] == f"message {message}" and lines[2] == f"message {events[3]['by']}"
    assert re.search("<alice@example.test> is told that it could not be delivered, by message "
        + events[3]["by"], lines[1])


def test_what_a_script_sends_on_is_told_and_leads_to_its_own_life(postern):
    script = 'redirect "bob@example.test";\n'
    postern.smtpctl("sieve", "put", "alice@example.test", "on", input=script)
    postern.smtpctl("sieve", "activate", "alice@example.test", "on")
    message = postern.send("alice@example.test")
    postern.wait_mail("bob@example.test")
    events = wait_for(lambda: "sent-on" in kinds(trace(postern, message, False) or []) and
        trace(postern, message))
    (sent,) = [event for event in events if event["event"] == "sent-on"]
    assert sent["to"] == "bob@example.test" and sent["about"] == "redirected"
    assert wait_trace(postern, sent["by"], "delivered")[-1]["mailbox"] == "bob@example.test"


def test_what_was_refused_and_why_is_told(postern):
    with postern.smtp() as client:
        client.ehlo("odd.client.test")
        client.mail("spammer@client.test")
        assert client.rcpt("nobody@example.test")[0] == 550
        assert client.rcpt("user@elsewhere.test")[0] == 550
        client.rcpt("alice@example.test")
        client.docmd("DATA")
        client.send(b"Message-ID: <bare@client.test>\r\n\r\nx\ny\r\n.\r\n")
        assert client.getreply()[0] == 550
    events = wait_for(lambda: len(trace(postern, "spammer@client.test", False) or []) == 3 and
        trace(postern, "spammer@client.test"))
    assert kinds(events) == ["refused"] * 3
    assert events[0]["rcpt"] == "nobody@example.test" and "5.1.1" in events[0]["reply"]
    assert events[1]["rcpt"] == "user@elsewhere.test" and "5.7.1" in events[1]["reply"]
    assert events[2]["message_id"] == "<bare@client.test>" and "5.6.11" in events[2]["reply"]
    assert events[0]["checks"] == "name confirmed by DNS, no TLS"
    assert all(event["helo"] == "odd.client.test" and "message" not in event for event in events)
    assert trace(postern, "nobody@example.test") == events[:1]
    assert trace(postern, "<bare@client.test>") == events[2:]
    assert postern.smtpctl("trace", "message", "nobody@example.test").stdout.startswith(
        "not accepted\n")


def test_a_sender_that_was_refused_and_a_message_that_was_cut_off_are_told(make_postern):
    postern = make_postern(extra="smtp max-message-size 100k\n")
    with postern.smtp() as client:
        client.ehlo()
        assert client.docmd("MAIL FROM:<large@client.test> SIZE=200000")[0] == 552
    with postern.smtp() as client:
        client.ehlo()
        client.mail("cut@client.test")
        client.rcpt("alice@example.test")
        client.docmd("DATA")
        client.send(b"Message-ID: <cut@client.test>\r\n\r\nhalf")
        client.sock.shutdown(socket.SHUT_RDWR)
    (large,) = wait_trace(postern, "large@client.test", "refused")
    assert large["reply"].startswith("552 5.3.4") and "rcpt" not in large
    (cut,) = wait_trace(postern, "alice@example.test", "refused")
    assert cut["from"] == "cut@client.test" and "message was whole" in cut["reply"]
    # Who says QUIT instead has sent all that he wanted to.
    with postern.smtp() as client:
        client.ehlo()
        client.mail("quit@client.test")
        client.rcpt("alice@example.test")
    postern.smtpctl("show", "status")
    assert trace(postern, "quit@client.test", check=False) is None


def test_what_was_found_out_about_who_sent_it_is_told(make_postern):
    postern = make_postern(extra="listen on socket\ntable names { alice@example.test = "
        f"alice@example.test }}\nlisten on 127.0.0.1 port {free_port()} auth auth-cleartext "
        "senders <names> tag users\n")
    port = int(re.search(r"port (\d+) auth ", postern.config_file.read_text()).group(1))
    with postern.smtp(port) as client:
        client.ehlo()
        client.login("alice@example.test", "correct horse battery")
        client.sendmail("alice@example.test", ["bob@example.test"], b"Subject: x\r\n\r\n")
    event = wait_trace(postern, "bob@example.test", "delivered")[0]
    assert event["user"] == "alice@example.test" and event["tag"] == "users"
    assert re.fullmatch("name confirmed by DNS, no TLS, logged in by (PLAIN|LOGIN), "
        "may send as this sender", event["checks"])
    with socket.socket(socket.AF_UNIX) as local:
        local.connect(str(postern.run / "smtp.sock"))
        local.settimeout(10)
        for line in ("", "EHLO here", "MAIL FROM:<carol@client.test>", "RCPT TO:<bob@example.test>",
                "DATA", "Subject: x\r\n\r\n."):
            local.sendall(f"{line}\r\n".encode() if line else b"")
            assert local.recv(4096)[:1] in b"23"
    event = wait_trace(postern, "carol@client.test", "delivered")[0]
    assert event["client"] == "local" and event["checks"] == f"local user {os.getuid()}"


def test_it_says_how_and_where_a_message_was_delivered(make_postern, tmp_path):
    with Peer(port=free_port(), lmtp=True) as peer:
        postern = make_postern(rules=f"""
action "in" maildir virtual <accounts>
action "there" lmtp {peer.address}:{peer.port} userbase {{ bob = 2000:2000:/home/bob }}
match from any for domain <accounts> action "in"
match from any for domain "lmtp.test" action "there"
""")
        message = postern.send("bob@lmtp.test")
        events = wait_trace(postern, message, "delivered")
        assert [event["method"] for event in events[1:]] == ["lmtp", "lmtp"]
    script = 'require ["fileinto", "mailbox"]; fileinto :create "Lists";\n'
    postern.smtpctl("sieve", "put", "alice@example.test", "on", input=script)
    postern.smtpctl("sieve", "activate", "alice@example.test", "on")
    message = postern.send("alice@example.test")
    (mail,) = wait_for(lambda: postern.mails(postern.maildir("alice@example.test") / ".Lists"))
    event = wait_trace(postern, message, "delivered")[-1]
    assert event["file"] == str(mail.path)


def test_what_an_administrator_does_is_told(postern):
    postern.smtpctl("pause", "mda")
    message = postern.send("alice@example.test")
    postern.smtpctl("pause", "envelope", message)
    postern.smtpctl("resume", "envelope", message)
    postern.smtpctl("remove", message)
    events = wait_trace(postern, message, "removed")
    assert kinds(events) == ["received", "recipient", "held", "released", "removed"]
    assert all(isinstance(event["uid"], int) for event in events[2:])
    message = postern.send("alice@example.test")
    postern.smtpctl("expire", message)
    events = wait_trace(postern, message, "notified")
    assert kinds(events) == ["received", "recipient", "given-up", "expired", "notified"]
    assert isinstance(events[2]["uid"], int)


@pytest.mark.parametrize("header", [b"<a\x1b[2Jb@client.test>", b"<a\0b@client.test>",
    b"<caf\xe9\xff@client.test>", b"<" + b"x" * 900 + b"@client.test>", b"<a\tb|c@client.test>",
    b" \x7f ", b"\r\n <folded@client.test>"])
def test_a_hostile_message_id_is_shown_in_one_harmless_line(make_postern, header):
    postern = make_postern(extra="smtp line-ends normalise\n")
    with postern.smtp() as client:
        client.ehlo()
        client.mail("sender@client.test")
        client.rcpt("alice@example.test")
        client.docmd("DATA")
        client.send(b"Message-ID: " + header + b"\r\nSubject: x\r\n\r\nx\r\n.\r\n")
        code, words = client.getreply()
        assert code == 250
    message = re.search("[0-9a-f]{8}", words.decode()).group()
    events = wait_trace(postern, message, "delivered")
    assert kinds(events) == ["received", "recipient", "delivered"]
    text = postern.smtpctl("trace", "message", message).stdout
    assert len(text.splitlines()) == 4
    assert not re.search(r"[^\n -~]", text)
    if b"folded" in header:
        assert trace(postern, "<folded@client.test>") == events


def test_it_outlives_a_killed_directory_and_a_restart(postern):
    first = postern.send("alice@example.test")
    before = wait_trace(postern, first, "delivered")
    postern.kill_and_wait_back("directory")
    second = postern.send("bob@example.test")
    wait_trace(postern, second, "delivered")
    assert trace(postern, first) == before
    postern.restart()
    assert trace(postern, first) == before
    third = postern.send("bob@example.test")
    wait_trace(postern, third, "delivered")
    assert {event["message"] for event in trace(postern, "bob@example.test")} == {second, third}


def test_a_damaged_history_begins_anew_and_mail_goes_on(postern):
    first = postern.send("alice@example.test")
    wait_trace(postern, first, "delivered")
    postern.stop()
    for path in (postern.state / "history").glob("*.db"):
        path.write_bytes(b"\xa5" * path.stat().st_size)
    postern.allow("damaged|database|history")
    postern.start()
    second = postern.send("alice@example.test")
    wait_trace(postern, second, "delivered")
    assert trace(postern, first, check=False) is None
    assert re.search("history is damaged: it is removed, and begins empty", postern.log_text())


def test_a_disk_that_takes_nothing_stops_no_mail_and_costs_no_history(make_postern, faults):
    postern = make_postern(environment=faults.environment)
    first = postern.send("alice@example.test")
    before = wait_trace(postern, first, "delivered")
    postern.allow("history|database")
    with faults.set("directory", write_error=errno.ENOSPC):
        for _ in range(5):
            postern.send("bob@example.test")
        postern.wait_mail("bob@example.test", 5)
        wait_for(lambda: int(postern.stats()["history.dropped"]) > 0)
        began = time.monotonic()
        # It isn't asked for in vain for long, either.
        postern.smtpctl("trace", "message", first, check=False)
        assert time.monotonic() - began < 10
    assert len(re.findall("the history of messages .* can't be used", postern.log_text(0))) == 1
    # It is tried again in a minute, or by a new process.
    postern.kill_and_wait_back("directory")
    second = postern.send("alice@example.test")
    wait_trace(postern, second, "delivered")
    assert trace(postern, first) == before
    assert "begins empty" not in postern.log_text(0)


def test_it_can_be_turned_off_and_on(make_postern):
    postern = make_postern(extra="history off\n")
    postern.send("alice@example.test")
    postern.wait_mail("alice@example.test")
    done = postern.smtpctl("trace", "message", "alice@example.test", check=False)
    assert done.returncode != 0 and "history off" in done.stderr
    assert not (postern.state / "history").exists()
    text = postern.config_file.read_text()
    postern.config_file.write_text(text.replace("history off", "history keep 1d\nhistory max-size 10M"))
    postern.smtpctl("reload")
    message = postern.send("alice@example.test")
    wait_trace(postern, message, "delivered")


def test_a_question_is_logged_and_only_for_who_may_ask(postern):
    message = postern.send("alice@example.test")
    wait_trace(postern, message, "delivered")
    postern.wait_log("control-command", verb="trace message", arguments=message)
    for words in (["trace", "message"], ["trace", "message", ""], ["trace", "message", "a", "b"],
            ["trace", "message", "a\nb"], ["trace", "message", "x" * 2000],
            ["untrace", "message", "x"]):
        assert postern.smtpctl(*words, check=False).returncode == 64
    if is_root():
        for user in ("nobody", "_smtpq"):
            done = postern.smtpctl("trace", "message", message, check=False, user=user)
            assert done.returncode == 77 and message not in done.stdout
