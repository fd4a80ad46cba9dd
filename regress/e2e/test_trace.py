"""smtpctl trace: each subsystem says what the manual promises, and nothing more than is safe."""

import re

import pytest

from postern import PROGRAMS, TOP, LogLine, wait_for

MANUAL = "smtpctl/smtpctl.8"
# What each subsystem writes while one mail for team@ (alice and bob) is taken and delivered. The
# words of a subsystem's events, with their processes and some of their fields.
EXPECTED = {
    "smtp": [("listener", "smtp-reply", {"line": re.compile("^220 mx.example.test")}),
        ("listener", "smtp-command", {"line": re.compile("^ehlo ")}),
        ("listener", "smtp-reply", {"line": "250-PIPELINING"}),
        ("listener", "smtp-command", {"line": "mail FROM:<sender@client.test>"}),
        ("listener", "smtp-command", {"line": "rcpt TO:<team@example.test>"}),
        ("listener", "smtp-reply", {"line": re.compile("^354 ")}),
        ("listener", "smtp-reply", {"line": re.compile("^250 2.0.0 ")})],
    "io": [("listener", "io-written", {"session": re.compile("^[0-9a-f]{16}$")}),
        ("listener", "io-read", {"waiting": "0"})],
    "imsg": [(process, event, {"type": re.compile("^[0-9]+$")})
        for process in ("listener", "queue", "directory", "mda")
        for event in ("imsg-sent", "imsg-received")],
    "rules": [("directory", "rule-tried",
            {"to": "team@example.test", "result": "does-not-match", "condition": "for"}),
        ("directory", "rule-tried", {"to": "team@example.test", "result": "matches"}),
        ("directory", "rule-chosen", {"to": "team@example.test", "action": "in"})],
    "expand": [("directory", "expand-step",
            {"rcpt": "team@example.test", "address": "team@example.test", "step": "leads-to",
                "to": "alice@example.test"}),
        ("directory", "expand-step",
            {"rcpt": "team@example.test", "address": "bob@example.test", "step": "mailbox",
                "action": "in"}),
        ("directory", "expanded", {"rcpt": "team@example.test", "targets": "2"}),
        ("directory", "expanded-to", {"rcpt": "team@example.test", "to": "bob@example.test"})],
    "lookup": [("directory", "table-looked-up",
            {"table": "others", "for": "domain", "key": "example.test", "result": "none",
                "time_us": re.compile("^[0-9]+$")}),
        ("directory", "table-looked-up",
            {"table": "accounts", "for": "domain", "key": "example.test", "result": "found"}),
        ("directory", "account-looked-up", {"in": "aliases", "key": "example.test team",
            "result": "found", "time_us": re.compile("^[0-9]+$")}),
        ("directory", "account-looked-up", {"in": "users", "key": "example.test bob",
            "result": "found"}),
        ("resolver", "client-looked-up", {"address": "127.0.0.1", "source": "hosts",
            "result": "confirmed", "name": "localhost"}),
        ("queue", "mailbox-looked-up", {"to": "bob@example.test", "action": "in",
            "result": re.compile("/example.test/bob$")})],
    "scheduler": [("queue", "scheduler-ready", {"to": "bob@example.test", "in_flight": "0"}),
        ("queue", "scheduler-mda", {"state": "starting"}),
        ("queue", "scheduler-mda", {"state": "up"}),
        ("queue", "scheduler-try", {"to": "bob@example.test", "in_flight": "1"}),
        ("queue", "scheduler-ended", {"to": "bob@example.test", "result": "success"})],
    "mda": [("mda", "mda-given", {"to": "bob@example.test",
            "mailbox": re.compile("/example.test/bob$")}),
        ("mda", "mda-step", {"step": "sync-directories", "failed": "0"}),
        ("mda", "mda-answered", {"reply": re.compile("^250 "), "file": re.compile(".")})],
    "bounce": [],
    "mta": [],
}
RULES = """
table others { "other.test", "else.test" }
action "in" maildir virtual <accounts>
match from any for domain <others> reject
match from any for domain <accounts> action "in"
"""


@pytest.fixture(scope="module")
def manual():
    """The events that the manual names for each subsystem."""
    text = (TOP / MANUAL).read_text().partition(".Sh TRACES")[2].partition(".Sh FILES")[0]
    found = {}
    for item in text.split("\n.It Cm ")[1:]:
        head, _, rest = item.partition("\n")
        found[head.split()[0]] = set(re.findall(r"^\.Ql ([a-z]+-[a-z-]+|expanded)\b", rest,
            re.MULTILINE))
    return found


@pytest.mark.parametrize("name", EXPECTED)
def test_a_traced_subsystem_says_what_it_does_and_no_other_speaks(make_postern, manual, name):
    postern = make_postern(rules=RULES)
    done = postern.smtpctl("trace", name)
    assert done.stderr == ""
    # A process may take a client that is there already before it hears that it is traced.
    for count in (1, 2, 3):
        postern.send("team@example.test")
        postern.wait_mail("alice@example.test", count)
        postern.wait_mail("bob@example.test", count)
        postern.wait_queue_empty()
        if not EXPECTED[name] or postern.log_lines(EXPECTED[name][0][1]):
            break
    for process, event, fields in EXPECTED[name]:
        wait_for(lambda: [line for line in postern.log_lines(event, **fields)
            if line.process == process], 10, f"{event} {fields}\n{postern.log_text()}")
    traced = set.union(*manual.values())
    assert {line.event for line in postern.log_lines()} & traced <= manual[name]
    postern.smtpctl("untrace", name)
    # What was under way when it was turned off is no mail of the next.
    postern.smtpctl("show", "status")
    postern.mark_log()
    postern.send("team@example.test")
    postern.wait_mail("alice@example.test", count + 1)
    postern.wait_mail("bob@example.test", count + 1)
    postern.wait_queue_empty()
    assert not {line.event for line in postern.log_lines()} & traced


def test_every_bounce_is_traced_and_why_there_is_none(postern):
    """A wanted bounce, one that NOTIFY forbids, one to the postmaster, one that nobody gets."""
    postern.smtpctl("trace", "bounce")
    postern.smtpctl("pause", "mda")
    wanted = postern.send("bob@example.test", sender="alice@example.test")
    with postern.smtp() as client:
        client.ehlo()
        client.mail("alice@example.test")
        client.rcpt("bob@example.test", ["NOTIFY=NEVER"])
        forbidden = re.search("[0-9a-f]{8}", client.data(b"\r\n")[1].decode()).group()
    null = postern.send("bob@example.test", sender="")
    for message in (wanted, forbidden, null):
        postern.smtpctl("expire", message)
    postern.wait_log("bounce-considered", message=wanted, kind="failed", result="wanted")
    postern.wait_log("bounce-asks", message=wanted, to="alice@example.test", for_="the sender")
    postern.wait_log("bounce-built", message=wanted, to="alice@example.test", recipients="1",
        returns="its header")
    postern.wait_log("bounce-created", message=wanted, signature="none")
    postern.wait_log("bounce-considered", message=forbidden, result="suppressed",
        reason=re.compile("NOTIFY"))
    postern.wait_log("bounce-asks", message=null, for_="the postmaster")
    postern.wait_log("bounce-created", message=null, to=re.compile("^postmaster@"))
    assert not postern.log_lines("bounce-created", message=forbidden)
    postern.smtpctl("resume", "mda")
    postern.wait_mail("alice@example.test")


def test_the_scheduler_says_why_mail_waits(postern):
    postern.smtpctl("trace", "scheduler")
    postern.smtpctl("pause", "mda")
    message = postern.send("bob@example.test")
    postern.wait_log("scheduler-ready", envelope=re.compile(message))
    postern.wait_log("scheduler-stopped", to="bob@example.test", reason="pause mda", waiting="1")
    mailbox = postern.maildir("bob@example.test")
    mailbox.parent.mkdir(parents=True, exist_ok=True)
    mailbox.write_text("in the way")
    postern.smtpctl("resume", "mda")
    line = postern.wait_log("scheduler-waits", envelope=re.compile(message), tries="1")
    assert 0 < int(line["seconds"]) < 3600
    postern.wait_log("scheduler-ended", to="bob@example.test", result="failure", window="16")
    mailbox.unlink()
    mailbox.parent.rmdir()
    postern.smtpctl("schedule", message)
    postern.wait_log("scheduler-ended", result="success")


def test_a_process_that_starts_later_is_traced_and_verbose_as_well(postern):
    postern.smtpctl("trace", "imsg")
    postern.smtpctl("log", "verbose")
    pid = postern.kill("resolver")
    wait_for(lambda: [line for line in postern.log_lines("imsg-received")
        if line.process == "resolver" and line.pid != pid], 20, "the new one is traced")
    wait_for(lambda: [line for line in postern.log_lines()
        if line.process == "resolver" and "nameservers: " in line.text], 20, "and verbose")


SECRET = "AGJvYkBleGFtcGxlLnRlc3QAc2VjcmV0"


def test_no_peer_forges_a_traced_line_and_no_secret_or_text_is_in_one(postern):
    postern.smtpctl("trace", "all")
    postern.smtpctl("log", "verbose")
    evil = r'"x\" result=found key=\"y\\"@example.test'
    with postern.wire() as wire:
        wire.hello("forged.test")
        wire.command(f"AUTH PLAIN {SECRET}", 502)
        wire.command(b"NOOP \x1b[2Jx\x80\xff uid=0 envelope=\"1\" expanded", 500)
        wire.command("MAIL FROM:<" + r'"a b=c\" rcpt=\"d"' + "@client.test>", 250)
        wire.command(f"RCPT TO:<{evil}>", 5)
        wire.command("RCPT TO:<bob@example.test>", 250)
        wire.command("DATA", 354)
        wire.send(f"Subject: {SECRET}\r\n\r\nthe text {SECRET}\r\n.\r\n")
        wire.expect(250)
        wire.command("QUIT", 221)
    postern.wait_mail("bob@example.test")
    postern.wait_queue_empty()
    postern.smtpctl("user", "passwd", "bob@example.test", input=f"{SECRET}\n")
    postern.smtpctl("untrace", "all")
    text = postern.log_text()
    assert SECRET not in text and "$y$" not in text and "the text" not in text
    postern.wait_log("smtp-command", line="AUTH PLAIN")
    assert all(re.fullmatch(r"[ -~]*", line) for line in text.splitlines())
    lines = [LogLine(line) for line in text.splitlines()]
    assert {line.process for line in lines} <= {*PROGRAMS, "smtpd"}
    # Whoever reads fields finds what was said as a value, and none of the fields in it.
    forged = [line for line in lines if "result=found key=" in line.text]
    assert forged
    for line in forged:
        assert "result" not in line or line["result"] != "found", line
        assert not re.search(r'(?<!\\)" result=found', line.text), line
