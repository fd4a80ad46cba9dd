"""The same rules on Debian's OpenSMTPD and on ours: both take mail from the same clients for the same
recipients. What its clients can't do there is left out: Debian's version has no TLS as a server, and
so no logins either."""

import contextlib
import socket
import types

import pytest

from hosts import Host, Root
from postern import TOP, Wire, free_port, wait_for
from test_relay import names  # noqa: F401 (fixture)
from test_smtp_listeners import header

pytestmark = pytest.mark.root
PORT, PROXY_PORT = 25, 26
DYNAMIC, STATIC, NAMELESS = (f"203.0.113.{number}" for number in (1, 2, 3))
NAMES = {DYNAMIC: "dyn1.isp.test", STATIC: "mx.isp.test"}
SIXTH = "2001:db8::1"

# Conditions; `for` what is asked is for any when they don't say.
RULES = """
from local
!from local
from any
!from any
from src 203.0.113.1
from src 203.0.113.0/31
!from src { 203.0.113.0/30 }
from src 2001:db8::/32
from src { "[2001:db8::1]", 203.0.113.3 }
from src regex "^203[.]0[.]113[.][13]$"
from src regex "db8"
!from src regex "^203"
from socket
!from socket
from rdns
!from rdns
from rdns "mx.isp.test"
from rdns "*.isp.test"
from rdns { "DYN1.isp.test" }
!from rdns "*.isp.test"
from rdns regex "^DYN"
from rdns regex "^dyn[0-9]"
from auth
!from auth
from auth "joe"
!from auth "joe"
from auth regex "."
from mail-from "joe@sender.test"
from mail-from "@sender.test"
!from mail-from "@sender.test"
from mail-from regex "sender"
auth from any
!auth from any
auth "joe" from any
tag "in" from any
tag "IN" from any
tag { "other", "in" } from any
!tag "in" from any
tag regex "^i" from any
tag regex "^I" from any
mail-from "joe@sender.test" from any
mail-from "JOE@Sender.test" from any
mail-from "@sender.test" from any
mail-from "@SENDER.test" from any
mail-from "@*.sender.test" from any
mail-from "joe" from any
mail-from "@" from any
mail-from "joe+x@sender.test" from any
mail-from "<>" from any
mail-from { "ann@sender.test", "@sub.sender.test" } from any
!mail-from "@sender.test" from any
!mail-from "<>" from any
mail-from regex "^joe@sender" from any
mail-from regex "^JOE" from any
mail-from regex "^<>$" from any
mail-from regex "^$" from any
mail-from regex "." from any
!mail-from regex "sender" from any
rcpt-to "bob@for.test" from any
rcpt-to "@for.test" from any
rcpt-to "bob" from any
rcpt-to "BOB@FOR.TEST" from any
rcpt-to "@*.for.test" from any
rcpt-to "bob+x@for.test" from any
!rcpt-to "bob@for.test" from any
rcpt-to regex "^bob" from any
rcpt-to regex "^BOB@for" from any
rcpt-to regex "@for[.]test$" from any
for any from any
!for any from any
for local from any
!for local from any
for domain "for.test" from any
for domain "FOR.test" from any
for domain "*.for.test" from any
for domain "*for.test" from any
for domain "*" from any
for domain { "a.test", "*.sub.for.test" } from any
!for domain "for.test" from any
for domain regex "^for" from any
for domain regex "^FOR" from any
for domain regex "[.]for[.]test$" from any
!for domain regex "for" from any
for rcpt-to "bob@for.test" from any
for rcpt-to "@for.test" from any
for rcpt-to "bob" from any
for rcpt-to regex "^bob@" from any
!for rcpt-to "bob@for.test" from any
!for rcpt-to regex "^bob@" from any
from local !for local
!from local for local
!from src 203.0.113.1 !for domain "for.test" !mail-from "@sender.test"
""".strip().splitlines()

HELO_RULES = ["mx.helo.test", "*.helo.test", "MX.HELO.TEST", 'regex "^mx"', 'regex "^MX"',
    'regex "^[[]"', '! "mx.helo.test"', '"[203.0.113.9]"']


def rules():
    """Each has a name of its own in HELO, by which it is asked for."""
    text = ""
    for number, rule in enumerate(RULES):
        where = "" if "for " in rule else " for any"
        text += f'match helo "r{number}.test" {rule}{where} action "out"\n'
    for number, rule in enumerate(HELO_RULES):
        negated, pattern = ("!", rule[2:]) if rule[0] == "!" else ("", rule)
        pattern = pattern if '"' in pattern else f'"{pattern}"'
        text += f'match {negated}helo {pattern} from any for domain "h{number}.test" action "out"\n'
    # The first that fits decides.
    return text + 'match from src 203.0.113.1 for domain "order.test" reject\n' \
        'match from any for domain "order.test" action "out"\n' \
        'match from any for domain "order.test" reject\n' \
        'match for domain "order.test" reject\n'


class Theirs:
    def __init__(self, folder):
        if not (TOP / "build/tools/opensmtpd/complete").exists():
            pytest.skip("opensmtpd isn't unpacked (make test-deps)")
        self.host = host = Host(None, "mx")
        host.lan = types.SimpleNamespace(folder=folder)
        root = Root(host, "opensmtpd", "127.0.0.1", "/etc/hosts")
        hosts = "127.0.0.1 localhost mx\n" + "".join(f"{address} {name}\n"
            for address, name in NAMES.items())
        root.write("etc/hosts", hosts)
        root.write("etc/mailname", "mx.example.test\n")
        host.run("sh", "-c", "mkdir -p /var/spool/smtpd /run/opensmtpd /var/lib/opensmtpd/empty && "
            "chmod 711 /var/spool/smtpd")
        self.log = folder / "opensmtpd.log"

    def start(self, config):
        self.host.root.write("etc/smtpd.conf", config)
        self.process = self.host.start("/usr/sbin/smtpd", "-d", log=self.log)
        wait_for(self.answers, 20, "OpenSMTPD answers")

    def answers(self):
        assert self.process.poll() is None, self.log.read_text()
        with self.host.inside(), contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", PORT), 5).close()
            return True
        return False

    def wire(self, port):
        with self.host.inside():
            return Wire(("127.0.0.1", port))

    def end(self):
        with contextlib.suppress(ProcessLookupError):
            self.host.end()


class Ours:
    def __init__(self, postern, ports):
        self.postern, self.ports = postern, ports

    def wire(self, port):
        return self.postern.wire(port=self.ports[port])


@pytest.fixture
def both(make_postern, names, tmp_path):
    ports = {PORT: free_port(), PROXY_PORT: free_port()}
    names.set("local=/ip6.arpa/", *(line for address, name in NAMES.items() for line in
        (f"ptr-record={'.'.join(reversed(address.split('.')))}.in-addr.arpa,{name}",
        f"host-record={name},{address}")))
    statements = 'action "out" relay\n' + rules()
    postern = make_postern(listen=listeners(ports), rules=statements, accounts=False,
        extra=f"smtp limit max-errors 10000\nsmtp limit resolver-time-ms 2000\n"
        f"resolver nameserver 127.0.0.1@{names.port}\n")
    theirs = Theirs(tmp_path)
    try:
        theirs.start(listeners({PORT: PORT, PROXY_PORT: PROXY_PORT}) + statements)
        yield Ours(postern, ports), theirs
    finally:
        theirs.end()


# What ours takes and theirs doesn't, or the other way round, on purpose.
EXPLAINED = {
    # Theirs looks for the names of clients among addresses: only what is equal is found.
    ('from rdns "*.isp.test"', DYNAMIC, "joe@sender.test", "bob@for.test", 250, 550),
    ('from rdns "*.isp.test"', STATIC, "joe@sender.test", "bob@for.test", 250, 550),
    ('!from rdns "*.isp.test"', DYNAMIC, "joe@sender.test", "bob@for.test", 550, 250),
    ('!from rdns "*.isp.test"', STATIC, "joe@sender.test", "bob@for.test", 550, 250),
    # "<>" is ours: theirs has "@" alone for it, which is any sender.
    ('mail-from "<>" from any', DYNAMIC, "", "bob@for.test", 250, 550),
    ('!mail-from "<>" from any', DYNAMIC, "", "bob@for.test", 550, 250),
    ('mail-from regex "^<>$" from any', DYNAMIC, "", "bob@for.test", 250, 550),
    # A "*" is more than one label.
    ('rcpt-to "@*.for.test" from any', DYNAMIC, "joe@sender.test", "bob@a.sub.for.test", 250, 550),
    ('for domain "*.for.test" from any', DYNAMIC, "joe@sender.test", "bob@a.sub.for.test", 250, 550),
    ("helo", None, "", "x@h1.test", 250, 550),
}


def listeners(ports):
    return f'listen on 127.0.0.1 port {ports[PORT]} tag "in"\n' \
        f"listen on 127.0.0.1 port {ports[PROXY_PORT]} proxy-v2\n"


def verdicts(server, client, helo, sender, recipients):
    """The answer to each recipient."""
    with server.wire(PROXY_PORT if client else PORT) as wire:
        if client:
            wire.send(header(client, family=0x21 if ":" in client else 0x11))
        wire.expect(220)
        wire.command(f"EHLO {helo}", 250)
        wire.command(f"MAIL FROM:<{sender}>", 250)
        found = {}
        for recipient in recipients:
            found[recipient] = wire.command(f"RCPT TO:<{recipient}>").code
        return found


SENDERS = ("", "joe@sender.test", "JOE@SENDER.TEST", "joe+x@sender.test", "ann@sub.sender.test",
    "ann@other.test")
RECIPIENTS = ("bob@for.test", "BOB@FOR.TEST", "bob+x@for.test", "bob@sub.for.test",
    "bob@a.sub.for.test", "cat@far.test", "bob@localhost", "bob@mx.example.test")
CLIENTS = (None, DYNAMIC, STATIC, NAMELESS, SIXTH)


def test_the_same_mail_is_taken_from_the_same_clients(both):
    different = set()

    def compare(rule, *case):
        ours, theirs = (verdicts(server, *case) for server in both)
        different.update((rule, case[0], case[2], recipient, ours[recipient], theirs[recipient])
            for recipient in ours if ours[recipient] != theirs[recipient])

    for number, rule in enumerate(RULES):
        senders = SENDERS if "mail-from" in rule else SENDERS[1:2]
        recipients = RECIPIENTS if "for " in rule or "rcpt-to" in rule else RECIPIENTS[:1]
        clients = CLIENTS if "from any" not in rule or "tag" in rule else CLIENTS[1:2]
        for client in clients:
            for sender in senders:
                compare(rule, client, f"r{number}.test", sender, recipients)
    for helo in ("mx.helo.test", "Mx.Helo.Test", "helo.test", "a.mx.helo.test", "[203.0.113.9]"):
        compare("helo", None, helo, "", [f"x@h{number}.test" for number in range(len(HELO_RULES))])
    for client in CLIENTS:
        compare("order", client, "x.test", "", ["x@order.test"])
    assert different == EXPLAINED
