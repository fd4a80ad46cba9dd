"""`smtpctl explain`: the way of mail as the running suite would send it, told without sending any; and
what the relay knows of hosts. DNS is nsd with signed zones, or dnsmasq."""

import json
import os
import re
import smtplib

import pytest

from postern import wait_for
from signed_dns import SignedDns, Zone
from smtp_peer import Peer, loopback_address
from test_relay import RULES, make, mx, names, send  # noqa: F401 (fixtures)
from test_relay_sts import authority, domains, page, policy  # noqa: F401 (fixtures)

pytestmark = pytest.mark.root  # port 25

KEY = "ab" * 32


def explain(postern, *arguments):
    """Its lines."""
    result = postern.smtpctl("explain", "--to", *arguments)
    assert result.stderr == ""
    return result.stdout.splitlines()


def facts(postern, *arguments):
    """Its objects, by what they are about."""
    found = {}
    for line in postern.smtpctl("-j", "explain", "--to", *arguments).stdout.splitlines():
        fact = json.loads(line)
        found.setdefault(fact["fact"], []).append(fact)
    return found


def line_of(postern, text):
    """Where in smtpd.conf the text is."""
    lines = postern.config_file.read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


class Signed:
    """nsd with a signed zone and one that isn't; the same names below both. No host listens."""

    def __init__(self, tool, folder):
        self.tool, self.folder, self.dns = tool, folder, None

    def start(self, make_postern, records, rules=RULES, extra="", **zone):
        self.dns = SignedDns(self.tool, self.folder, {"example": Zone(),
            "signed": Zone(records, **zone), "open": Zone(records, signed=False)})
        for path in (self.folder, self.dns.directory):
            path.chmod(0o755)
        self.dns.anchor.chmod(0o644)
        return make_postern(rules=rules, extra=f"resolver nameserver 127.0.0.1@{self.dns.port}\n"
            f"resolver trust-anchor {self.dns.anchor}\n{extra}")


@pytest.fixture
def signed(tool, tmp_path):
    server = Signed(tool, tmp_path)
    yield server
    if server.dns:
        server.dns.stop()


MXS = f"""far IN MX 10 mx0
far IN MX 20 mx1
far IN MX 30 mx2
mx0 IN A 127.66.0.1
mx0 IN AAAA ::1
mx1 IN A 127.66.0.2
mx2 IN A 127.66.0.3
_25._tcp.mx0 IN TLSA 3 1 1 {KEY}
_25._tcp.mx1 IN TLSA 1 1 1 {KEY}
"""


def test_the_way_of_mail_to_a_signed_domain(signed, make_postern):
    postern = signed.start(make_postern, MXS)
    rule = line_of(postern, 'for any action "out"')
    assert explain(postern, "x@far.signed", "--from", "alice@example.test") == [
        "Mail from alice@example.test to x@far.signed, sent on this machine:",
        f'rule: line {rule} of smtpd.conf takes mail for x@far.signed by action "out"',
        "relay: mail for x@far.signed is sent to other hosts for far.signed",
        'Mail for other hosts, to far.signed by action "out":',
        "route: 3 mail servers by MX records, which are signed (DNSSEC)",
        "host: preference 10, port 25 by smtp: mx0.signed",
        "addresses: of mx0.signed, which are signed (DNSSEC): " + next(
            line.split(": ")[-1] for line in explain(postern, "x@far.signed")
            if line.startswith("addresses: of mx0")),
        "DANE: 1 usable TLSA record of mx0.signed",
        "TLS: with mx0.signed always, and its certificate must be one that its TLSA records name "
        "(DANE)",
        "host: preference 20, port 25 by smtp: mx1.signed",
        "addresses: of mx1.signed, which are signed (DNSSEC): 127.66.0.2",
        "DANE: 0 usable TLSA records of mx1.signed",
        "TLS: with mx1.signed always, by any certificate",
        "host: preference 30, port 25 by smtp: mx2.signed",
        "addresses: of mx2.signed, which are signed (DNSSEC): 127.66.0.3",
        "DANE: mx2.signed has no TLSA records",
        "TLS: with mx2.signed when it offers it, by any certificate",
        "queue: nothing is queued for it",
        "mail to it waits for: nothing: it is sent as soon as it comes",
        "answer to RCPT: 250 2.1.5 recipient ok"]
    told = facts(postern, "x@far.signed")
    assert set(told["host"][0]["addresses"]) == {"127.66.0.1", "::1"}
    assert [host["policy"] for host in told["host"]] == ["dane", "encrypted", "opportunistic"]
    assert [host["tlsa"] for host in told["host"]] == ["usable", "unusable", "none"]
    # The same names, of which nothing is signed.
    told = facts(postern, "x@far.open")
    assert not told["route"][0]["dnssec"]
    assert [(host["host"], host["tlsa"], host["policy"]) for host in told["host"]] == [
        (f"mx{number}.open", "not-asked", "opportunistic") for number in range(3)]
    # Nothing was connected to, and no host came to be.
    assert not postern.log_lines("relay-connected") and not postern.log_lines("relay-not-connected")
    assert postern.smtpctl("show", "hosts").stdout == ""


def test_what_dns_does_not_tell(signed, make_postern):
    """Signatures that are wrong: of a domain's MXs, and of a host's TLSA records."""
    postern = signed.start(make_postern, f"""bad IN MX 10 mx0
odd IN MX 10 mx1
none IN MX 0 .
lost IN MX 10 nowhere
mx1 IN A 127.66.0.2
_25._tcp.mx1 IN TLSA 3 1 1 {KEY}
""", damaged=("bad", "_25._tcp.mx1"))
    (route,) = facts(postern, "x@bad.signed")["route"]
    assert route["error"].startswith("451 4.4.3 the mail servers of bad.signed can't be looked up: ")
    told = facts(postern, "x@odd.signed")
    (host,) = told["host"]
    assert (host["tlsa"], host["policy"]) == ("failed", "unknown") and host["error"]
    assert "TLS: with mx1.signed is not decided yet: nothing is sent before DNS has answered" in \
        explain(postern, "x@odd.signed")
    assert facts(postern, "x@none.signed")["route"][0]["error"].startswith("556 5.1.10 ")
    assert facts(postern, "x@unknown.signed")["route"][0]["error"] == \
        "550 5.1.2 the domain unknown.signed doesn't exist"
    assert facts(postern, "x@lost.signed")["host"][0]["dns"] == "none"
    # A wrong domain is told of as such wherever it stands.
    assert explain(postern, "x@unknown.signed")[-2] == "mail to it is returned to its sender"
    assert explain(postern, "x@bad.signed")[-2] == \
        "mail to it waits for: a mail server to be found"
    assert "route: none: 550 5.1.2 the domain unknown.signed doesn't exist" in \
        explain(postern, "x@unknown.signed")


def test_a_thousand_mail_servers(signed, make_postern):
    """As many as are tried are told of, the best."""
    postern = signed.start(make_postern, "".join(f"many IN MX {number} m{number}\n"
        f"m{number} IN A 127.67.{number // 250}.{number % 250 + 1}\n" for number in range(1000)))
    told = facts(postern, "x@many.open")
    assert told["route"][0]["hosts"] == 32
    assert [(host["preference"], host["addresses"]) for host in told["host"]] == [
        (number, [f"127.67.0.{number + 1}"]) for number in range(32)]


def test_mail_that_would_come_back(make, names):
    names.set("mx-host=home.test,home.test,10", "host-record=home.test,127.0.0.1")
    postern = make(extra="listen on 127.0.0.1 port 25\n")
    assert facts(postern, "x@home.test")["host"][0]["here"]


def test_a_policy_of_mta_sts(domains):
    """Of two MXs it names one."""
    host = domains.host(page(policy(mx=["mx0.far.test"])))
    domains.publish("far.test", "127.66.0.1", "127.66.0.2", host=host)
    postern = domains.start()
    told = facts(postern, "x@far.test")
    assert told["route"][0]["sts"] == "enforce" and told["route"][0]["sts_mx"] == "mx0.far.test "
    assert [host["policy"] for host in told["host"]] == ["verified", "not-named"]
    lines = explain(postern, "x@far.test")
    assert "MTA-STS: the domain's policy is of mode enforce, for mx0.far.test " in lines
    assert "TLS: nothing is sent to mx1.far.test, which the domain's policy (MTA-STS) doesn't name" \
        in lines
    assert not postern.log_lines("relay-connected") and not postern.log_lines("relay-not-connected")


RULES_LOCAL = """
table names { "root" = "alice@example.test", "loop" = "loop2", "loop2" = "loop", "run" = "|cat",
    "out" = "x@far.test, y@far.test, z@other.test" , "many" = "alice@example.test, bob@example.test" }
action "in" maildir virtual <accounts>
action "here" maildir alias <names>
action "out" relay
match from any for domain <accounts> action "in"
match from any for local action "here"
match from any for rcpt-to { "no@thanks.test" } reject
match from auth for any action "out"
"""


def test_the_steps_of_aliases(make, names):
    names.set()
    postern = make(rules=RULES_LOCAL)
    postern.add_alias("info@example.test", "team@example.test", "bob@example.test")
    rule = line_of(postern, 'for domain <accounts>')
    # Where each mailbox is: as in the log of deliveries.
    boxes = {name: str(postern.maildir(f"{name}@example.test")) for name in ("alice", "bob")}
    assert explain(postern, "info@example.test") == [
        "Mail from <> to info@example.test, sent on this machine:",
        f'rule: line {rule} of smtpd.conf takes mail for info@example.test by action "in"',
        "alias: info@example.test leads to team@example.test",
        "alias: info@example.test leads to bob@example.test",
        f'rule: line {rule} of smtpd.conf takes mail for team@example.test by action "in"',
        "alias: team@example.test leads to alice@example.test",
        "alias: team@example.test leads to bob@example.test as well, which was looked at already",
        f'rule: line {rule} of smtpd.conf takes mail for bob@example.test by action "in"',
        f"mailbox: mail for bob@example.test is delivered to {boxes['bob']}, which is "
        "bob@example.test's",
        f'rule: line {rule} of smtpd.conf takes mail for alice@example.test by action "in"',
        f"mailbox: mail for alice@example.test is delivered to {boxes['alice']}, which is "
        "alice@example.test's",
        "answer to RCPT: 250 2.1.5 recipient ok"]
    told = facts(postern, "loop@localhost")
    assert [fact["to"] for fact in told["alias-loop"]] == ["loop2@localhost"]
    assert told["answer"][0]["reply"].startswith("550 5.4.6 ")
    told = facts(postern, "run@localhost")
    assert told["dead"][0]["to"] == "cat" and "pipes" in told["dead"][0]["reason"]
    told = facts(postern, "nobody-of-that-name@example.test")
    assert told["answer"][0]["reply"].startswith("550 5.1.1 ")
    assert facts(postern, "no@thanks.test")["rule"][0].get("action") is None
    # Two recipients of one domain are one destination.
    told = facts(postern, "out@localhost")
    assert [fact["reason"] for fact in told["dead"]] == ["foreign domain: relaying denied"] * 3
    # To explain is to ask only: no alias is complained of.
    assert not postern.log_lines("alias-target-dead")


def test_who_may_send_to_elsewhere(make, names):
    """On this machine nobody may, after login anybody: both are told."""
    names.set(*mx("far.test", "127.66.0.9"))
    postern = make(rules=RULES_LOCAL)
    lines = explain(postern, "x@far.test", "--from", "alice@example.test")
    denied = lines.index("rule: no match rule of smtpd.conf takes mail for x@far.test")
    allowed = lines.index(
        "Mail from alice@example.test to x@far.test, sent by a user who has logged in:")
    assert denied < allowed
    assert lines[allowed + 1] == \
        f'rule: line {line_of(postern, "from auth")} of smtpd.conf takes mail for x@far.test by ' \
        'action "out"'
    assert lines[-1] == "answer to RCPT: 250 2.1.5 recipient ok"


def test_an_alias_that_leads_elsewhere_where_no_rule_sends(make, names):
    names.set()
    postern = make(rules=RULES_LOCAL)
    postern.add_alias("away@example.test", "x@far.test")
    lines = explain(postern, "away@example.test")
    denied = lines.index("rule: no match rule of smtpd.conf takes mail for x@far.test")
    assert lines[denied + 1] == f'rule: line {line_of(postern, "from any")} of smtpd.conf is not for it: ' \
        'its "for" doesn\'t fit'


def test_name_servers_without_dnssec_are_told_as_such(make, names):
    """Below .test nothing is validated, below others everything is."""
    names.set(*mx("far.example", "127.66.0.9"))
    postern = make(rules=RULES)
    assert "the name servers give no DNSSEC keys of the root: have others, or say \"resolver " \
        "trust-anchor none\"" in "\n".join(explain(postern, "x@far.example"))


def test_many_destinations(make, names):
    names.set()
    rules = RULES + 'match from any for rcpt-to { "all@list.test" } action "in"\n'
    postern = make(rules='table lists { "all" = "' + ", ".join(
        f"x@domain{number}.test, y@domain{number}.test" for number in range(20)) + '" }\n'
        'action "list" maildir alias <lists>\nmatch from any for local action "list"\n' + rules)
    told = facts(postern, "all@localhost")
    assert len(told["relay"]) == 40
    assert [fact["to"] for fact in told["destination"]] == [
        f"domain{number}.test" for number in range(16)]
    assert told["note"][0]["text"] == "there are more destinations, which are not looked at"


def test_what_mail_waits_for(make_postern, names):
    with Peer() as peer:
        peer.always("GREETING", "450 4.3.2 not now \x1b[31m")
        names.set(*mx("far.test", peer))
        postern = make_postern(rules=RULES, extra="queue retry-first 10m\n"
            f"resolver nameserver 127.0.0.1@{names.port}\n")
        for number in range(3):
            send(postern, "x@far.test", subject=str(number))
        postern.wait_log("destination-put-off", to="far.test")
        told = facts(postern, "x@far.test")
        (queue,), (line,) = told["queue"], told["line"]
        assert queue["waits_for"] == "put-off"
        assert queue["ready"] + queue["waiting"] + queue["in_flight"] == 3
        assert line["envelopes"] == 3 and line["failures"] == 1 and line["window"] == 1
        assert line["next_try"] is not None and line["error"].startswith("450 4.3.2 not now")
        known = told["connections"][0]["known"]
        assert known["state"] == "failed" and known["penalty"] > 0
        assert known["error"].startswith("450 4.3.2 not now")
        lines = explain(postern, "x@far.test")
        assert "mail to it waits for: the next try, since the destination could not be reached" in \
            lines
        assert any(re.fullmatch(r"queue: not reached 1 times in a row: tried again at .*", line)
            for line in lines)
        assert not any("\x1b" in line for line in lines)
        postern.smtpctl("pause", "envelope", "all")
        assert facts(postern, "x@far.test")["queue"][0]["held"] == 3
        postern.smtpctl("pause", "mta", "for", "far.test")
        assert facts(postern, "x@far.test")["queue"][0]["waits_for"] == "domain-paused"
        assert facts(postern, "x@other.test")["queue"][0]["waits_for"] == "nothing"
        postern.smtpctl("pause", "mta")
        assert facts(postern, "x@other.test")["queue"][0]["waits_for"] == "paused"


def test_smarthosts_and_what_the_configuration_asks_of_them(make, names):
    names.set("host-record=one.test,127.66.0.1")
    postern = make(rules=RULES.replace('"out" relay',
        '"out" relay host { "smtps://one.test", "smtp+notls://127.66.0.2:2525" }'))
    told = facts(postern, "x@far.test")
    assert told["route"][0]["by"] == "smarthosts"
    assert [(host["host"], host["port"], host["scheme"], host["policy"], host["implicit_tls"])
        for host in told["host"]] == [("one.test", 465, "smtps", "verified", True),
        ("127.66.0.2", 2525, "smtp+notls", "none", False)]
    assert told["host"][0]["addresses"] == ["127.66.0.1"]


def test_hosts_routes_and_hoststats(make, names):
    with Peer() as peer, Peer() as refusing:
        refusing.always("RCPT", "550 5.1.1 no|such \x1b[31muser")
        names.set(*mx("far.test", peer), *mx("odd.test", refusing.address))
        postern = make()
        send(postern, "x@far.test")
        send(postern, "x@odd.test")
        peer.wait_messages(1)
        postern.wait_log("delivery-failed", to="x@odd.test")
        hosts = {host["host"]: host for host in map(json.loads,
            postern.smtpctl("-j", "show", "hosts").stdout.splitlines())}
        host = hosts["mx0.far.test"]
        assert host["addresses"][0]["address"] == peer.address
        assert (host["action"], host["sent"], host["failed"]) == ("out", 1, 0)
        assert host["policy"] == "opportunistic" and host["last_connection"]
        lines = postern.smtpctl("show", "hosts").stdout.splitlines()
        assert any(re.match(rf"{re.escape(peer.address)} mx0\.far\.test refcount=\d+ nconn=\d+ "
            r"lastconn=\d+s ", line) for line in lines)
        lines = postern.smtpctl("show", "routes").stdout.splitlines()
        assert any(re.match(r"\d+\. \[\] <-> mx0\.far\.test:25 [N-][D-][Q-][K-] nconn=\d+ nerror=0 "
            r"penalty=0 timeout=- ", line) for line in lines)
        stats = dict(line.split("|", 1) for line in
            postern.smtpctl("show", "hoststats").stdout.splitlines())
        assert re.fullmatch(r"\d+\|250 .*", stats["far.test"])
        assert re.fullmatch(r"\d+\|550 5\.1\.1 no\\174such \?\[31muser", stats["odd.test"])
        # In portions.
        send(postern, *(f"x@[127.66.{number // 250}.{number % 250 + 1}]" for number in range(300)))
        wait_for(lambda: len(postern.smtpctl("show", "routes").stdout.splitlines()) == 302)


def test_a_failed_host_is_shown_with_its_penalty(make, names):
    address = loopback_address()
    names.set(*mx("dead.test", address))
    postern = make()
    send(postern, "x@dead.test")
    postern.wait_log("destination-put-off", to="dead.test")
    (line,) = postern.smtpctl("show", "routes").stdout.splitlines()
    assert re.match(r"\d+\. \[\] <-> mx0\.dead\.test:25 --Q- nconn=0 nerror=\d+ penalty=\d+ "
        r"timeout=\d+s", line)
    assert "state=failed" in postern.smtpctl("show", "hosts").stdout


def test_what_cannot_be_explained_is_refused(postern):
    for words in [[], ["--to"], ["--to", "a b@x.test"], ["--to", "x@y.test\nRCPT"],
            ["--to", "x@y.test", "--to", "x@y.test"], ["--to", "x@y.test", "--ip", "192.0.2.256"],
            ["--to", "x@y.test", "--name", "a.test"], ["--to", "x@y.test", "--helo", "a\nb"],
            ["--to", "x@y.test", "--tls", "--tls"], ["--to", "x@y.test", "--auth", ""],
            ["--to", "x@y.test", "--tag", "t" * 100], ["--to", "x@y.test", "--sender", "x"],
            ["--to", "\x1b[31m@y.test"], ["--to", "x@" + "y" * 300], ["--to", "x@y.test", "--from"],
            ["--to", "x@y\udcff.test"], ["--to", "<>"], ["--to", "$(id)@far.test"],
            ["--to", "..//..@far.test"]]:
        result = postern.smtpctl("explain", *words, check=False)
        assert result.returncode == os.EX_USAGE, words
        assert result.stderr.startswith("smtpctl: explain: ") and result.stdout == ""


def test_odd_addresses(make, names):
    names.set()
    postern = make()
    for address in ['"a|b\\"c"@far.test', "%s%n@far.test", "x@[IPv6:::1]", "x@[127.66.6.6]", "bob",
            "ü@far.test"]:
        told = facts(postern, address)
        assert len(told["question"]) == 1 and len(told["answer"]) == 1
        assert all(line.isprintable() for line in explain(postern, address))


def test_an_ordinary_user_is_refused(postern):
    for words in (["explain", "--to", "x@far.test"], ["show", "hosts"], ["show", "routes"],
            ["show", "hoststats"]):
        result = postern.smtpctl(*words, check=False, user="nobody")
        assert result.returncode == os.EX_NOPERM and result.stdout == ""
    postern.allow("control-refused")


@pytest.mark.parametrize("hold", ["", " hold"])
def test_the_hourly_limit_of_a_user_is_told_and_not_counted(make_postern, hold):
    postern = make_postern(listen="listen on 127.0.0.1 port @PORT@ auth-optional auth-cleartext\n",
        extra=f"smtp limit user-mails-per-hour 2{hold}\n")
    user, over = "alice@example.test", "held" if hold else "refused"
    asked = ["bob@example.test", "--auth", user, "--from", user]
    line = f"limit: {user} may mail to 2 recipients an hour, and {{}} of them are used: {{}} {over}"
    for _ in range(4):
        assert line.format(0, "what is over that is") in explain(postern, *asked)
    with smtplib.SMTP("127.0.0.1", postern.port, timeout=20) as client:
        client.login(user, "correct horse battery")
        client.sendmail(user, ["bob@example.test"] * 2, "Subject: x\r\n\r\nx\r\n")
    told = explain(postern, *asked)
    assert line.format(2, "this one is") in told
    assert told[-1].startswith("answer to RCPT: " + ("250 " if hold else
        "450 4.7.1 you have sent 2 mails within an hour"))
    assert facts(postern, *asked)["limit"] == [{"fact": "limit", "user": user, "per_hour": 2,
        "used": 2, "over": over}]
    assert "limit" not in facts(postern, "bob@example.test")
    assert facts(postern, "bob@example.test", "--auth", "bob@example.test")["limit"][0]["used"] == 0


def test_an_alias_refuses_in_words_that_every_client_can_read(make_postern):
    postern = make_postern(start=False, rules="table users file:@BASE@/users\n"
        'action "in" maildir virtual <users>\nmatch from any for any action "in"\n')
    path = postern.base / "users"
    words = {"long": "error:550 " + "w" * 900, "umlaut": "error:550 5.1.6 Grüße, 漢字 " + "ü" * 450,
        "later": "error:450 4.2.1 später"}
    path.write_text("".join(f'{user}@x.test "{text}"\n' for user, text in words.items()))
    path.chmod(0o644)
    postern.start()
    expected = {"long": "550 5.7.1 " + "w" * 400, "umlaut": "550 5.1.6 Gr??e, ?? " + "?" * 192,
        "later": "450 4.2.1 sp?ter"}
    for option in ("", " SMTPUTF8"):
        with postern.wire() as wire:
            wire.hello()
            wire.command(f"MAIL FROM:<s@client.test>{option}", 250)
            for user, line in expected.items():
                wire.send(f"RCPT TO:<{user}@x.test>\r\n")
                assert wire.line().decode("ascii") == line
                assert len(line) + 2 <= 512  # RFC 5321 4.5.3.1.5
    for user in words:
        told = explain(postern, f"{user}@x.test")
        assert told[-1] == f"answer to RCPT: {expected[user]}"
        assert all(line.isprintable() for line in told)
