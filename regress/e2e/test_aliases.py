"""Aliases, plus-addressing, catch-all and postmaster on the running suite."""

import os
import shlex

import pytest

from postern import wait_for

ALIASES = """
table aliases file:@BASE@/aliases
action "in" maildir alias <aliases>%s
match from any for domain <accounts> action "in"
"""


def rcpt(postern, address):
    with postern.wire() as wire:
        wire.hello()
        wire.command("MAIL FROM:<sender@client.test>", 250)
        return repr(wire.command(f"RCPT TO:<{address}>"))


def start(make_postern, aliases, options=""):
    postern = make_postern(start=False, rules=ALIASES % options)
    path = postern.base / "aliases"
    path.write_text(aliases)
    path.chmod(0o644)
    postern.start()
    postern.add_domain("example.test")
    postern.add_user("alice@example.test")
    postern.add_user("bob@example.test")
    return postern


def test_an_alias_file_leads_to_accounts(make_postern):
    postern = start(make_postern, "info: alice, bob\noffice: info, alice\n"
        "\"First Last\": alice\n50%off: alice\nbob: bob, alice\n")
    postern.send("office+x@example.test")
    postern.wait_mail("alice@example.test")
    postern.wait_mail("bob@example.test")
    postern.wait_queue_empty()
    assert len(postern.mails("alice@example.test")) == 1
    assert len(postern.mails("bob@example.test")) == 1
    assert rcpt(postern, '"First Last"@example.test').startswith("250")
    assert rcpt(postern, "50%off@example.test").startswith("250")
    assert rcpt(postern, "bob@example.test").startswith("250")


def test_loops_and_dead_aliases_are_refused_at_rcpt(make_postern):
    lines = ["one: one", "a: b", "b: a", "dead: nobody, nobody2", "dir: :include:/etc",
        "file: /etc/passwd", "cmd: \"|/bin/true\"", "far: someone@far.test", "half: nobody, alice"]
    lines += [f"n{n}: n{(n + 1) % 100}" for n in range(100)]
    postern = start(make_postern, "\n".join(lines) + "\n")
    for name in ["one", "a", "b", "n0", "n57", "dead", "dir", "file", "cmd", "far"]:
        assert rcpt(postern, f"{name}@example.test").startswith("550 5."), name
    assert rcpt(postern, "half@example.test").startswith("250")
    postern.wait_log("alias-target-dead", target="/etc/passwd")
    postern.wait_log("alias-target-dead", target="someone@far.test")


def test_a_hundred_thousand_targets_are_refused_and_others_are_served(make_postern):
    postern = start(make_postern, "all: " + ", ".join(f"m{n}" for n in range(100000)) + "\n")
    for _ in range(5):
        reply = rcpt(postern, "all@example.test")
        assert reply.startswith("550 5.5.3") and "1000" in reply
    assert rcpt(postern, "alice@example.test").startswith("250")


def test_a_command_gets_the_mail_where_pipes_are_allowed(make_postern):
    postern = start(make_postern, "", " pipes")
    out = postern.base / "mail/out"
    out.mkdir(parents=True, exist_ok=True)
    out.chmod(0o777)
    command = f"|/bin/sh -c {shlex.quote(f'cat >{out}/message')}"
    postern.smtpctl("alias", "add", "list@example.test", command, "alice")
    postern.send("list@example.test", "Subject: piped\r\n\r\nbody\r\n")
    wait_for(lambda: (out / "message").exists() and
        b"Subject: piped" in (out / "message").read_bytes(), 20)
    postern.wait_mail("alice@example.test")
    # A client's words are never a command.
    assert rcpt(postern, "|touch@example.test").startswith("550 5.1.1")


def test_details_and_catch_all(postern):
    postern.send("alice+lists@example.test")
    (mail,) = postern.wait_mail("alice@example.test")
    postern.smtpctl("user", "add", "alice+own@example.test", "no-password")
    postern.send("alice+own@example.test")
    postern.wait_mail("alice+own@example.test")
    assert rcpt(postern, "anyone@example.test").startswith("550 5.1.1")
    postern.add_alias("@example.test", "bob@example.test")
    postern.send("anyone@example.test")
    postern.wait_mail("bob@example.test")
    postern.send("alice@example.test")
    postern.wait_mail("alice@example.test", 2)
    assert len(postern.mails("bob@example.test")) == 1
    assert mail.message["Subject"] == "test"


def test_one_copy_however_many_aliases_lead_there(postern):
    postern.add_alias("a@example.test", "team", "alice")
    postern.add_alias("b@example.test", "a", "alice")
    postern.send(["a@example.test", "b@example.test", "team@example.test", "alice@example.test",
        "ALICE+x@example.test"])
    postern.wait_mail("alice@example.test")
    postern.wait_mail("bob@example.test")
    postern.wait_queue_empty()
    assert len(postern.mails("alice@example.test")) == 1
    assert len(postern.mails("bob@example.test")) == 1


def test_postmaster_is_always_taken(postern):
    """RFC 5321 4.5.1: with or without a domain, in any case, whoever exists."""
    for number, address in enumerate(["postmaster", "PostMaster@example.test",
            "postmaster@mx.example.test", "postmaster@[127.0.0.1]"], 1):
        assert rcpt(postern, address).startswith("250"), address
        postern.send(address)
        postern.wait_mail(postern.mail / "postmaster", number)
    assert rcpt(postern, "postmaster@elsewhere.test").startswith("550 5.7.1")
    postern.add_alias("postmaster@example.test", "alice")
    postern.send("postmaster@example.test")
    postern.wait_mail("alice@example.test")


@pytest.mark.parametrize("address", ["u%else.test@example.test", "else.test!u@example.test",
    '"u@else.test"@example.test', "@else.test:u@example.test"])
def test_relaying_by_local_part_is_refused(postern, address):
    assert rcpt(postern, address).startswith("550 5.1.1")
    assert rcpt(postern, "u%example.test@else.test").startswith("550 5.7.1")
