"""smtpctl's commands against the whole suite."""

import json
import os
import re
import socket
import subprocess
import time

import pytest

from postern import wait_for


@pytest.fixture
def waiting(postern):
    """Three messages that wait: from erin to alice and bob, from carl and from the null sender."""
    postern.smtpctl("pause", "mda")
    first = postern.send(["alice@example.test", "bob@example.test"], sender="erin@client.test")
    second = postern.send("alice@example.test", "Subject: second\r\n\r\nx\r\n", sender="carl@other.test")
    third = postern.send("bob@example.test", sender="")
    assert len(postern.queue()) == 4
    return first, second, third


def ids(postern, *filters):
    return [envelope["id"] for envelope in postern.queue(*filters)]


def test_filters_choose_envelopes(postern, waiting):
    first, second, third = waiting
    assert all(ident.startswith(first) for ident in ids(postern, first))
    assert len(ids(postern, first)) == 2
    assert ids(postern, ids(postern, first)[1]) == [ids(postern, first)[1]]
    assert [ident[:8] for ident in ids(postern, "from", "carl@other.test")] == [second]
    assert [ident[:8] for ident in ids(postern, "from", "@other.test")] == [second]
    assert [ident[:8] for ident in ids(postern, "from", "<>")] == [third]
    assert {ident[:8] for ident in ids(postern, "to", "alice@example.test")} == {first, second}
    assert len(ids(postern, "to", "@example.test")) == 4
    assert [ident[:8] for ident in
        ids(postern, "from", "@client.test", "to", "bob@example.test")] == [first]
    assert ids(postern, "older", "1h") == []
    assert len(ids(postern, "state", "pending")) == 4
    assert ids(postern, "state", "held") == []
    assert ids(postern, "from", "client.test@nowhere.test") == []


def test_remove_takes_away_what_matches_and_tells_nobody(postern, waiting):
    first, second, third = waiting
    done = postern.smtpctl("remove", "from", "@client.test")
    assert done.stdout == "2 envelopes removed\n"
    assert {ident[:8] for ident in ids(postern)} == {second, third}
    line = postern.wait_log("control-command", verb="remove")
    assert line["uid"] == str(os.geteuid() if postern.user is None else
        postern.base.stat().st_uid)
    assert line["envelopes"] == "2" and "@client.test" in line["arguments"]
    assert postern.smtpctl("remove", second).stdout == "1 envelope removed\n"
    assert postern.smtpctl("remove", "all").stdout == "1 envelope removed\n"
    assert postern.smtpctl("-j", "remove", "all").stdout == '{"action":"removed","envelopes":0}\n'
    postern.smtpctl("resume", "mda")
    postern.wait_queue_empty()
    assert postern.mails("alice@example.test") == []


def test_held_envelopes_stay_until_resumed(postern, waiting):
    first, _second, _third = waiting
    assert postern.smtpctl("pause", "envelope", first).stdout == "2 envelopes paused\n"
    assert len(ids(postern, "state", "held")) == 2
    lines = postern.smtpctl("show", "queue", "state", "held").stdout.splitlines()
    assert all("suspend" in line.split("|")[3].split(",") for line in lines)
    postern.smtpctl("resume", "mda")
    wait_for(lambda: len(postern.queue()) == 2, 20, "only what is held is left")
    assert {envelope["state"] for envelope in postern.queue()} == {"held"}
    assert postern.smtpctl("resume", "envelope", "all").stdout == "2 envelopes resumed\n"
    postern.wait_queue_empty()
    assert len(postern.mails("alice@example.test")) == 2


def test_expire_sends_the_bounce_now(postern):
    postern.smtpctl("pause", "mda")
    message = postern.send("bob@example.test", sender="alice@example.test")
    assert postern.smtpctl("expire", message).stdout == "1 envelope expired\n"
    postern.smtpctl("resume", "mda")
    (mail,) = postern.wait_mail("alice@example.test")
    assert b"multipart/report" in mail.data
    assert postern.mails("bob@example.test") == []


def test_show_envelope_and_message(postern, waiting):
    first, second, _third = waiting
    (ident,) = ids(postern, second)
    lines = postern.smtpctl("show", "envelope", ident).stdout.splitlines()
    fields = dict(line.split(": ", 1) for line in lines if ": " in line)
    assert fields["sender"] == "carl@other.test"
    assert fields["dest"] == "alice@example.test"
    assert fields["type"] == "mda"
    assert fields["helo"] == "client.test"
    assert int(fields["expire"]) > int(fields["ctime"])
    for name in (ident, second):
        text = postern.smtpctl("show", "message", name).stdout
        assert "Subject: second" in text and text.startswith("Received: ")
    assert "Subject: second" not in postern.smtpctl("show", "message", first).stdout


@pytest.mark.parametrize("words", [["show", "message", "ffffffff"],
    ["show", "message", "ffffffff00000001"], ["show", "envelope", "ffffffff00000001"]], ids=" ".join)
def test_an_id_that_does_not_exist_is_an_error(postern, words):
    done = postern.smtpctl(*words, check=False)
    assert done.returncode not in (0, os.EX_TEMPFAIL)
    assert done.stdout == "" and done.stderr.startswith("smtpctl: command failed: ")
    assert postern.smtpctl("show", "queue").stdout == ""


def test_status_follows_pause_and_resume(postern):
    def status():
        return json.loads(postern.smtpctl("-j", "show", "status").stdout)
    assert postern.smtpctl("show", "status").stdout == "MDA running\nMTA running\nSMTP running\n"
    for part in ("mda", "mta", "smtp"):
        assert postern.smtpctl("pause", part).stdout == "command succeeded\n"
        assert status() == {"mda": "running", "mta": "running", "smtp": "running", part: "paused"}
        assert postern.smtpctl("resume", part).stdout == "command succeeded\n"
    assert set(status().values()) == {"running"}


def test_counters_count(postern):
    before = postern.stats()
    postern.send("alice@example.test")
    postern.wait_mail("alice@example.test")
    postern.wait_queue_empty()
    wait_for(lambda: int(postern.stats()["scheduler.delivery.ok"]) ==
        int(before["scheduler.delivery.ok"]) + 1, 10)
    after = postern.stats()
    assert int(after["smtp.message"]) == int(before["smtp.message"]) + 1
    assert int(after["scheduler.envelope.incoming"]) == \
        int(before["scheduler.envelope.incoming"]) + 1
    assert after["scheduler.envelope"] == "0"
    assert int(after["uptime"]) < 600
    lines = postern.smtpctl("monitor", "1").stdout.splitlines()
    assert len(lines) == 3 and len(lines[2].split()) == 13


def test_accounts_are_listed_as_they_were_made(postern):
    postern.add_domain("second.test")
    postern.add_user("dora@second.test")
    postern.smtpctl("user", "add", "nopass@second.test", "no-password")
    postern.smtpctl("user", "quota", "dora@second.test", "500M", "10000")
    postern.add_alias("info@second.test", "dora@second.test", "alice@example.test")
    assert "second.test" in postern.smtpctl("domain", "list").stdout.splitlines()
    users = postern.smtpctl("user", "list", "second.test").stdout.splitlines()
    assert users == ["dora@second.test|524288000|10000", "nopass@second.test|0|0"]
    aliases = postern.smtpctl("alias", "list", "second.test").stdout.splitlines()
    assert aliases == ["info@second.test|dora@second.test|alice@example.test"]
    postern.smtpctl("alias", "del", "info@second.test", "alice@example.test")
    aliases = postern.smtpctl("-j", "alias", "list", "second.test").stdout
    assert json.loads(aliases) == {"address": "info@second.test", "targets": ["dora@second.test"]}
    postern.smtpctl("user", "quota", "dora@second.test", "none")
    postern.smtpctl("user", "passwd", "dora@second.test", input="another pass\n")
    postern.smtpctl("alias", "del", "info@second.test")
    postern.smtpctl("user", "del", "dora@second.test")
    users = [json.loads(line) for line in
        postern.smtpctl("-j", "user", "list", "second.test").stdout.splitlines()]
    assert [user["address"] for user in users] == ["nopass@second.test"]
    postern.smtpctl("user", "del", "nopass@second.test")
    postern.smtpctl("domain", "del", "second.test")
    assert "second.test" not in postern.smtpctl("domain", "list").stdout.splitlines()
    assert "another pass" not in postern.log_text() and "$y$" not in postern.log_text()


@pytest.mark.parametrize("words", [["domain", "add", "example.test"], ["domain", "del", "none.test"],
    ["domain", "add", "not a domain"], ["user", "add", "u@none.test", "no-password"],
    ["user", "add", "alice@example.test", "no-password"], ["user", "del", "nobody@example.test"],
    ["user", "quota", "nobody@example.test", "1G"], ["alias", "del", "nothing@example.test"]],
    ids=" ".join)
def test_an_account_change_that_cannot_be_says_why(postern, words):
    done = postern.smtpctl(*words, check=False)
    assert done.returncode not in (0, os.EX_TEMPFAIL, os.EX_USAGE)
    assert re.fullmatch("smtpctl: command failed: .+\n", done.stderr)
    assert done.stdout == ""


def test_log_and_trace_switch_what_is_logged(postern):
    postern.smtpctl("trace", "imsg")
    postern.send("alice@example.test")
    wait_for(lambda: postern.log_lines("imsg-sent"), 10, "traced frames")
    postern.smtpctl("untrace", "all")
    postern.smtpctl("log", "verbose")
    postern.smtpctl("log", "brief")
    assert [line["verb"] for line in postern.log_lines("control-command")][-4:] == \
        ["trace", "untrace", "log", "log"]
    assert postern.log_lines("control-command")[-3]["arguments"] == "all"


def test_spool_check_and_dump_read_a_spool_at_rest(postern):
    postern.smtpctl("pause", "mda")
    message = postern.send("alice@example.test")
    busy = postern.smtpctl("spool", "check", str(postern.spool), check=False)
    assert busy.returncode == os.EX_TEMPFAIL
    assert busy.stderr == (f"smtpctl: a server is at work on {postern.spool}: stop it first, "
        'by "smtpctl stop"\n')
    postern.stop()
    for what in ("check", "dump"):
        done = subprocess.run([postern.stage / "usr/sbin/smtpctl", "spool", what, postern.spool],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stdout
    assert message in done.stdout


def test_a_queue_that_was_killed_is_asked_again(postern, waiting):
    # The next one doesn't know of the pause, but of what is held.
    postern.smtpctl("pause", "envelope", "all")
    postern.kill("queue")
    wait_for(lambda: postern.smtpctl("show", "queue", check=False).returncode == 0, 15)
    assert len(postern.queue()) == 4


@pytest.mark.root
def test_an_ordinary_user_is_told_who_may(postern):
    """By the real way: a setgid smtpctl, a socket for its group only, and control's decision."""
    done = postern.smtpctl("show", "queue", check=False, user="nobody")
    assert (done.stdout, done.stderr) == ("", "smtpctl: need root privileges\n")
    assert done.returncode == os.EX_NOPERM
    postern.wait_log("control-refused", uid=65534)


def test_what_is_being_tried_shows_for_how_long(make_postern):
    """The next server takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun = time.time()
        postern = make_postern(config="listen on 127.0.0.1 port @PORT@\n"
            f'action "out" relay host "smtp://127.0.0.1:{silent.getsockname()[1]}"\n'
            'match for any action "out"\n')
        postern.send("somebody@elsewhere.test")
        with silent.accept()[0]:
            (line,) = postern.smtpctl("show", "queue").stdout.splitlines()
            assert line.split("|")[11] == "inflight"
            assert 0 <= int(line.split("|")[12]) <= time.time() - begun
