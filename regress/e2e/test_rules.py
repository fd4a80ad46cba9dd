"""Each condition of match rules, asked of the running suite by clients that it holds for and by others
that it doesn't; what the log says of rules that nothing can reach; and smtpctl explain about them."""

import re
import smtplib
import ssl

import pytest

from postern import free_port
from test_explain import explain, facts, line_of
from test_relay import names  # noqa: F401 (fixture)
from test_smtp_listeners import header
from test_tls import Pair

PASSWORD = "correct horse battery"
DYNAMIC, STATIC, NAMELESS, UNCONFIRMED = (f"203.0.113.{number}" for number in (1, 2, 3, 4))

# A rule for each domain; whoever it takes mail from gets it to alice.
RULES = {
    "from-src.test": f'from src {DYNAMIC} for @',
    "not-from-src.test": f'!from src {{ {DYNAMIC}, 203.0.113.3/32 }} for @',
    "from-src-regex.test": r'from src regex "^203\\.0\\.113\\.[12]$" for @',
    "from-local.test": "from local for @",
    "not-from-local.test": "!from local for @",
    "from-socket.test": "from socket for @",
    "not-from-socket.test": "!from socket for @",
    "from-rdns.test": "from rdns for @",
    "not-from-rdns.test": "!from rdns for @",
    "from-rdns-list.test": 'from rdns "*.isp.test" for @',
    "not-from-rdns-list.test": '!from rdns "dyn*.isp.test" for @',
    "from-rdns-regex.test": 'from rdns regex "^DYN[0-9]+[.]" for @',
    "from-auth.test": "from auth for @",
    "from-auth-list.test": "from auth { bob@example.test } for @",
    "from-auth-regex.test": 'from auth regex "^b.b@" for @',
    "from-mail-from.test": 'from mail-from "@sender.test" for @',
    "from-mail-from-regex.test": 'from mail-from regex "^bounce[+].*@" for @',
    "auth.test": "auth from any for @",
    "not-auth.test": "!auth from any for @",
    "auth-regex.test": '!auth regex "^ali" auth-any for @',
    "helo.test": 'helo "*.good.test" from any for @',
    "helo-regex.test": r'!helo regex "^\\[" from any for @',
    "mail-from.test": 'mail-from { "a@sender.test", "<>" } from any for @',
    "mail-from-regex.test": r'!mail-from regex "[0-9]{4}" from any for @',
    "rcpt-to.test": 'rcpt-to { "a@rcpt-to.test" } from any for @',
    "rcpt-to-regex.test": r'rcpt-to regex "^x[0-9]+@" from any for @',
    "tag.test": 'tag { "tls", "other" } from any for @',
    "tag-regex.test": '!tag regex "^T.S$" from any for @',
    "tls.test": "tls from any for @",
    "not-tls.test": "!tls from any for @",
}


def statement(domain, conditions):
    conditions = conditions.replace("auth-any", "from any").replace("for @", f'for domain "{domain}"')
    return f'match {conditions} action "to"\n'


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    return Pair(tmp_path_factory.mktemp("pki"), "mx.example.test", "ec")


class Site:
    def __init__(self, make, names, pair, socket_path):
        self.socket = socket_path
        self.tls_port, self.proxy_port = free_port(), free_port()
        names.set(*(f"ptr-record={number}.113.0.203.in-addr.arpa,{name}" for number, name in
            ((1, "dyn1.isp.test"), (2, "mx.isp.test"), (4, "liar.test"))),
            f"host-record=dyn1.isp.test,{DYNAMIC}", f"host-record=mx.isp.test,{STATIC}",
            "host-record=liar.test,203.0.113.99")
        self.postern = make(listen="listen on 127.0.0.1 port @PORT@ auth-optional auth-cleartext\n"
            f"listen on 127.0.0.1 port {self.tls_port} tls pki mx tag \"tls\"\n"
            f"listen on 127.0.0.1 port {self.proxy_port} proxy-v2\n"
            f'listen on socket "{socket_path}"\n',
            rules='action "in" maildir virtual <accounts>\n'
            'action "to" expand-only virtual { "@" = alice@example.test }\n'
            + "".join(statement(*rule) for rule in RULES.items())
            + r'match from any for domain regex "^re[0-9]+[.]test$" action "to"' "\n"
            'match from any for rcpt-to regex { "^a@any", "^b@any" } action "to"\n'
            'match from any !for domain regex "." action "to"\n'
            'match from any for domain <accounts> action "in"\n',
            extra=f"{pair.statements('mx')}smtp limit resolver-time-ms 300\nresolver nameserver 127.0.0.1@{names.port}\n")

    def code(self, address, client=None, sender="x@client.test", helo="client.test", user=None,
            tls=False, tagged=False, unix=False):
        """The answer to RCPT."""
        if client or unix:
            where = dict(path=self.socket) if unix else dict(port=self.proxy_port)
            with self.postern.wire(**where) as wire:
                if client:
                    wire.send(header(client))
                wire.expect(220)
                wire.command(f"EHLO {helo}", 250)
                wire.command(f"MAIL FROM:<{sender}>", 250)
                return wire.command(f"RCPT TO:<{address}>").code
        with smtplib.SMTP("127.0.0.1", self.tls_port if tls or tagged else self.postern.port,
                local_hostname=helo, timeout=20) as smtp:
            if tls:
                smtp.starttls(context=ssl._create_unverified_context())
            smtp.ehlo_or_helo_if_needed()
            if user:
                smtp.login(user, PASSWORD)
            assert smtp.mail(sender)[0] == 250
            return smtp.rcpt(address)[0]


@pytest.fixture
def site(make_postern, names, pair, tmp_path):
    tmp_path.chmod(0o755)
    return Site(make_postern, names, pair, tmp_path / "lmtp.sock")


BOB = dict(user="bob@example.test", sender="bob@example.test")
ALICE = dict(user="alice@example.test", sender="alice@example.test")
CASES = {  # who it holds for, and who not
    "from-src.test": ([dict(client=DYNAMIC)], [dict(client=STATIC), dict(unix=True)]),
    "not-from-src.test": ([dict(client=STATIC), dict(unix=True)],
        [dict(client=DYNAMIC), dict(client=NAMELESS)]),
    "from-src-regex.test": ([dict(client=STATIC)], [dict(client=NAMELESS), dict(unix=True)]),
    "from-local.test": ([{}, dict(unix=True)], [dict(client=STATIC)]),
    "not-from-local.test": ([dict(client=STATIC)], [{}, dict(unix=True)]),
    "from-socket.test": ([dict(unix=True)], [{}]),
    "not-from-socket.test": ([{}], [dict(unix=True)]),
    "from-rdns.test": ([dict(client=DYNAMIC)], [dict(client=NAMELESS), dict(client=UNCONFIRMED)]),
    "not-from-rdns.test": ([dict(client=NAMELESS), dict(client=UNCONFIRMED)],
        [dict(client=STATIC)]),
    "from-rdns-list.test": ([dict(client=STATIC)], [dict(client=UNCONFIRMED)]),
    "not-from-rdns-list.test": ([dict(client=STATIC)],
        [dict(client=DYNAMIC), dict(client=NAMELESS), dict(client=UNCONFIRMED)]),
    "from-rdns-regex.test": ([dict(client=DYNAMIC)], [dict(client=STATIC)]),
    "from-auth.test": ([BOB], [{}]),
    "from-auth-list.test": ([BOB], [ALICE, {}]),
    "from-auth-regex.test": ([BOB], [ALICE, {}]),
    "from-mail-from.test": ([dict(sender="q@SENDER.test")], [{}, dict(sender="")]),
    "from-mail-from-regex.test": ([dict(sender="bounce+1@x.test")], [dict(sender="bounce@x.test")]),
    "auth.test": ([BOB], [{}]),
    "not-auth.test": ([{}], [BOB]),
    "auth-regex.test": ([{}, BOB], [ALICE]),
    "helo.test": ([dict(helo="MX.good.test")], [{}, dict(helo="good.test")]),
    "helo-regex.test": ([{}], [dict(helo="[192.0.2.1]")]),
    "mail-from.test": ([dict(sender=""), dict(sender="a@sender.test")], [{}]),
    "mail-from-regex.test": ([{}], [dict(sender="x1234@x.test")]),
    "tag.test": ([dict(tagged=True)], [{}]),
    "tag-regex.test": ([{}], [dict(tagged=True)]),
    "tls.test": ([dict(tls=True)], [dict(tagged=True)]),
    "not-tls.test": ([dict(tagged=True)], [dict(tls=True)]),
}


def test_each_condition_holds_for_those_that_it_names_and_no_others(site):
    wrong = []
    for domain, (holds, fails) in CASES.items():
        for expected, hows in ((250, holds), (550, fails)):
            wrong += [(domain, how, code) for how in hows
                if (code := site.code(f"a@{domain}", **how)) != expected]
    assert not wrong
    for address, expected in (("a@rcpt-to.test", 250), ("b@rcpt-to.test", 550),
            ("x12@rcpt-to-regex.test", 250), ("x@rcpt-to-regex.test", 550), ("x@re7.test", 250),
            ("x@re.test", 550), ("B@any.test", 250), ("c@any.test", 550)):
        assert site.code(address) == expected, address
    assert not site.postern.log_lines("config-problem")


def test_a_name_that_cannot_be_looked_up_refuses_nobody_for_good(site, names):
    names.stop()
    assert site.code("a@from-rdns.test", client=STATIC) == 451
    assert site.code("a@not-from-rdns.test", client=STATIC) == 451
    assert site.code("a@from-src.test", client=DYNAMIC) == 250


def test_explain_tells_how_mail_from_elsewhere_would_fare(site):
    postern = site.postern
    refused = ["a@from-src.test", "--ip", "192.0.2.1"]
    assert facts(postern, *refused)["answer"][0]["reply"].startswith("550 5.7.1 ")
    assert explain(postern, "a@from-src.test", "--ip", DYNAMIC)[-1].startswith("answer to RCPT: 250")
    assert facts(postern, "a@not-from-local.test")["answer"][0]["reply"].startswith("550 ")
    told = facts(postern, "a@not-from-local.test", "--ip", "2001:db8::1")
    assert told["answer"][0]["reply"].startswith("250 ")
    assert told["rule"][0]["line"] == line_of(postern, 'for domain "not-from-local.test"')
    for options, reply in ((["--ip", STATIC, "--name", "mx.isp.test"], "250 "),
            (["--ip", STATIC, "--name", "none"], "550 "), (["--ip", STATIC], "451 ")):
        assert facts(postern, "a@from-rdns.test", *options)["answer"][0]["reply"].startswith(reply)
    for option in (["--tls"], ["--tag", "TLS"], ["--helo", "a.good.test"]):
        domain = {"--tls": "tls.test", "--tag": "tag.test", "--helo": "helo.test"}[option[0]]
        assert facts(postern, f"a@{domain}", *option)["answer"][0]["reply"].startswith("250 ")
        assert facts(postern, f"a@{domain}")["answer"][0]["reply"].startswith("550 ")
    assert facts(postern, "a@from-auth-list.test", "--auth", "bob@example.test")["rule"]
    # Each rule that isn't for it is told with the condition that it fails by.
    lines = explain(postern, *refused)
    assert lines[0] == "Mail from <> to a@from-src.test, sent by the client 192.0.2.1:"
    assert f'rule: line {line_of(postern, "from-src.test")} of smtpd.conf is not for it: its "from" ' \
        "doesn't fit" in lines
    assert f'rule: line {line_of(postern, "not-from-src.test")} of smtpd.conf is not for it: its ' \
        '"for" doesn\'t fit' in lines
    assert "dead end: a@from-src.test: foreign domain: relaying denied" in lines
    lines = explain(postern, "a@from-rdns.test", "--ip", STATIC)
    assert any("can't be known now" in line and "--name" in line for line in lines)
    # As whom a user may send.
    told = facts(postern, "a@auth.test", "--auth", "bob@example.test", "--from", "alice@example.test")
    assert told["answer"][0]["reply"].startswith("550 ") and told["sender"]
    assert explain(postern, "a@auth.test", "--auth", "bob@example.test", "--helo", "h\u00e4",
        "--ip", "192.0.2.1", "--name", "c.test", "--tag", "x", "--tls")[0] == (
        "Mail from <> to a@auth.test, sent by the client 192.0.2.1 called c.test, logged in "
        "as bob@example.test, with HELO h\u00e4, to a listener tagged x, by TLS:")


def test_explain_tells_quota_and_usage(site):
    postern = site.postern
    told = facts(postern, "alice@example.test")
    assert "quota" not in told
    postern.smtpctl("user", "quota", "alice@example.test", "10K", "100")
    (quota,) = facts(postern, "alice@example.test")["quota"]
    assert (quota["quota_bytes"], quota["quota_messages"]) == (10240, 100)
    postern.send("alice@example.test", text="Subject: x\r\n\r\n" + "x" * 70 + "\r\n")
    postern.wait_mail("alice@example.test")
    lines = explain(postern, "alice@example.test")
    assert any(re.fullmatch(r"quota: the mailbox of alice@example\.test may hold .* and 100 "
        r"messages, and holds .* in 1 message", line) for line in lines)
    postern.smtpctl("user", "quota", "alice@example.test", "none")
    assert "quota" not in facts(postern, "alice@example.test")
    postern.smtpctl("user", "quota", "alice@example.test", "10K", "1")
    assert facts(postern, "alice@example.test")["answer"][0]["reply"] == \
        "452 4.2.2 the mailbox is full, try again later"


def test_a_rule_of_an_included_file_is_named_by_it(make_postern, tmp_path):
    rules = tmp_path / "rules.conf"
    rules.write_text('# ours\nmatch from any for domain <accounts> action "in"\n')
    rules.chmod(0o644)
    tmp_path.chmod(0o755)
    postern = make_postern(rules=f'action "in" maildir virtual <accounts>\ninclude "{rules}"\n')
    (rule,) = facts(postern, "alice@example.test")["rule"]
    assert (rule["file"], rule["line"]) == (str(rules), 2)
    assert f'rule: line 2 of {rules} takes mail for alice@example.test by action "in"' in \
        explain(postern, "alice@example.test")


def test_rules_that_nothing_reaches_are_told_at_the_start_and_at_a_reload(make_postern):
    rules = 'action "in" maildir virtual <accounts>\n' \
        'match from any for domain <accounts> action "in"\n'
    postern = make_postern(rules=rules + "match from socket for domain <accounts> reject\n")
    assert re.search(r"config-problem text=.*smtpd\.conf:\d+: warning: .*match.* is never reached: the "
        r"rule in line \d+ of", postern.log_text(0))
    postern.config_file.write_text(postern.config_file.read_text().replace("from socket", "from auth"))
    postern.reload()
    (line,) = postern.log_lines("config-problem")
    assert "never reached" in line["text"]
    postern.allow("config-problem")
