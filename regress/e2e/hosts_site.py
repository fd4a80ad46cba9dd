"""A whole site on the hosts of hosts.py: this suite, Postfix, Exim and OpenSMTPD, a DNS with a
signed zone and one that isn't, a resolver that validates for those that can't themselves, and a
CA.

The zone `signed` has the domains ours, postfix, exim and opensmtpd with TLSA records of their
hosts; `open` has the same without, and a domain NAME-plain for each host's address without TLS.
Mail of ours for NAME-smart.open goes by that host, with TLS and, where it wants one, a password.
"""

import contextlib
import smtplib
import subprocess
import uuid

import pytest

import postern as harness
from hosts import NETWORK, Host, Lan
from hosts_peers import OURS, PASSWORD, Exim, OpenSMTPD, Postfix
from postern import wait_for
from signed_dns import SignedDns, Zone
from test_relay_dane import digest
from test_relay_tls import Authority

CONFIG = """\
smtp hostname mx.ours.signed
pki mx.ours.signed cert "@FOLDER@/ours.pem"
pki mx.ours.signed key "@FOLDER@/ours.key"
ca site cert "@FOLDER@/ca.pem"
ca default cert "@FOLDER@/ca.pem"
table secrets { work = "relay:@PASSWORD@" }
resolver nameserver 10.25.0.1
resolver trust-anchor @ANCHOR@
queue segment-size 4M
queue retry-first 1s
queue retry-max 2s
listen on 10.25.0.10 port 25 tls pki mx.ours.signed
listen on 10.25.0.11 port 25
listen on 127.0.0.1 port 25
listen on 10.25.0.10 port 587 tls-require auth pki mx.ours.signed
listen on 10.25.0.10 port 465 smtps auth pki mx.ours.signed
listen on 10.25.0.10 port 24 lmtp
action "in" maildir virtual <accounts>
action "out" relay
action "backup" relay backup mx mx.ours.open
action "by-exim" relay host smtp+tls://work@mx.exim.signed:587 auth <secrets> ca site
action "by-postfix" relay host smtp+tls://mx.postfix.signed ca site
match from any for domain <accounts> action "in"
match from any for domain "backup.open" action "backup"
match from src @NETWORK@ for domain "exim-smart.open" action "by-exim"
match from src @NETWORK@ for domain "postfix-smart.open" action "by-postfix"
match from src @NETWORK@ for any action "out"
match from auth for any action "out"
"""
# Domains with a backup, who isn't at home, and some that have a policy (or say so).
MORE = """
backup IN MX 10 mx.exim
backup IN MX 20 mx.ours
shadow IN MX 10 mx.ours
shadow IN MX 20 mx.postfix
""" + "".join(f"""
{name} IN MX 10 mx.{host}.signed.
_mta-sts.{name} IN TXT "v=STSv1; id=1;"
mta-sts.{name} IN A 10.25.0.{address}
""" for name, host, address in (("sts", "postfix", 3), ("sts-exim", "exim", 3),
    ("sts-broken", "opensmtpd", 3), ("sts-down", "postfix", 4)))


class Ours(Host):
    """This suite: `postern`, an instance as in the other tests."""

    name = "ours"
    address, plain_address = OURS, "10.25.0.11"

    def __init__(self, site, stage):
        super().__init__(site.lan, self.name, self.address, self.plain_address)
        self.site = site
        authority = site.authority
        authority.context("mx.ours.signed")
        self.certificate = authority.folder / "mx.ours.signed5.pem"
        folder = site.lan.folder
        for end in ("pem", "key"):
            (folder / f"ours.{end}").write_bytes(
                (authority.folder / f"mx.ours.signed5.{end}").read_bytes())
        (folder / "ours.key").chmod(0o600)
        self.postern = harness.Postern(stage, config=self.config, wrapper=self.network_words())

    def config(self, _instance):
        text = CONFIG
        for word, value in (("NETWORK", NETWORK), ("FOLDER", self.site.lan.folder),
                ("ANCHOR", self.site.dns.anchor), ("PASSWORD", PASSWORD)):
            text = text.replace(f"@{word}@", str(value))
        return text

    def start_it(self):
        self.postern.start()
        for domain in ("ours.signed", "ours.open", "ours-plain.open", "shadow.open", "lmtp.test",
                "smart.test"):
            self.postern.add_domain(domain)
        for user in ("ann", "ben", "cat", "postfix", "exim", "opensmtpd"):
            self.postern.add_user(f"{user}@ours.signed", PASSWORD)
        for user in ("ann", "ben", "cat"):
            for domain in ("ours.open", "ours-plain.open", "shadow.open", "lmtp.test",
                "smart.test"):
                self.postern.add_alias(f"{user}@{domain}", f"{user}@ours.signed")

    def wait_mail(self, user, token, timeout=20.0):
        def found():
            return [mail for mail in self.postern.mails(f"{user}@ours.signed")
                if token.encode() in mail.data]
        try:
            (mail,) = wait_for(found, timeout, f"{token} for {user} of ours")
        except AssertionError as why:
            logs = "\n".join(peer.log_text()[-2000:] for peer in self.site.peers.values())
            raise AssertionError(f"{why}\n{self.postern.log_tail()}\n{logs}") from None
        return mail


class Site:
    def __init__(self, stage, tool, records="", own=(),
            peers=(Postfix, Exim, OpenSMTPD)):
        self.stack = contextlib.ExitStack()
        try:
            self._build(stage, tool, records, own, peers)
        except BaseException:
            self.end()
            raise

    def _build(self, stage, tool, records, own, peers):
        self.lan = self.stack.enter_context(Lan(tool, own))
        folder = self.lan.folder / "ca"
        folder.mkdir()
        self.authority = Authority(folder)
        (self.lan.folder / "ca.pem").write_bytes(self.authority.file.read_bytes())
        self.ours = Ours(self, stage)
        self.stack.callback(self.ours.postern.destroy)
        self.peers = {}
        for number, kind in enumerate(peers, 2):
            self.peers[kind.name] = kind(self.lan, 10 * number, self.authority)
        self._start_dns(tool, records)
        for peer in self.peers.values():
            peer.configure()
        self.ours.start_it()
        for peer in self.peers.values():
            for address in (peer.address, peer.plain_address):
                wait_for(lambda: self.answers(address), 30, f"{peer.name} answers")

    def _start_dns(self, tool, records):
        signed, unsigned = "", ""
        for host in (self.ours, *self.peers.values()):
            name = host.name
            signed += (f"{name} IN MX 10 mx.{name}\nmx.{name} IN A {host.address}\n"
                f"_25._tcp.mx.{name} IN TLSA 3 1 1 {digest(host.certificate, 'key')}\n")
            unsigned += (f"{name} IN MX 10 mx.{name}\nmx.{name} IN A {host.address}\n"
                f"{name}-plain IN MX 10 plain.{name}\nplain.{name} IN A {host.plain_address}\n")
        self.dns = self.stack.enter_context(SignedDns(tool, self.lan.folder, {"example": Zone(),
            "signed": Zone(signed), "open": Zone(unsigned + MORE + records, signed=False)},
            address="10.25.0.1", port=53, host=self.lan))
        self.zones = ["example", "signed", "open", ""]
        self.dns.directory.chmod(0o755)
        self.dns.anchor.chmod(0o644)
        anchor = next(path for path in self.dns.directory.glob("K.*.ds")).read_text().split()
        self.lan.start(tool("dnsmasq"), "--no-daemon", "--conf-file=/dev/null", "--no-resolv",
            "--no-hosts", "--user=root", "--pid-file=", "--listen-address=10.25.0.2", "--bind-interfaces",
            "--server=10.25.0.1", "--dnssec", f"--trust-anchor=.,{','.join(anchor[-4:])}",
            log=self.lan.folder / "dnsmasq.out")

    def answers(self, address):
        try:
            with self.lan.inside():
                client = smtplib.SMTP(address, 25, local_hostname="client.test", timeout=5)
            client.quit()
            return True
        except OSError:
            return False

    def client(self, address, port=25, kind=smtplib.SMTP, **options):
        """A connected client from the network."""
        with self.lan.inside():
            return kind(address, port, local_hostname="client.test", timeout=30, **options)

    def send(self, host, sender, *recipients, body="hello\r\n", options=("BODY=8BITMIME",)):
        """By that host; what the text has to be known by."""
        token = uuid.uuid4().hex
        text = f"From: <{sender}>\r\nTo: {recipients[0]}\r\nSubject: {token}\r\n" \
            "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n" \
            f"Content-Transfer-Encoding: 8bit\r\n\r\n{body}"
        with self.client(host.address) as client:
            client.ehlo()
            refused = client.sendmail(sender, recipients, text.encode(), options)
        assert not refused
        return token

    def end(self):
        self.stack.close()


def fixture(**options):
    """A module's fixture `site`."""
    @pytest.fixture(scope="module")
    def site(stage, tool):
        made = Site(stage, tool, **options)
        yield made
        made.end()
    return site
