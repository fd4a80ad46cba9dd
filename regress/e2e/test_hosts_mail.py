"""Mail between this suite, Postfix, Exim and OpenSMTPD, each on a host of its own (see
hosts_site.py): to each and from each, in plain text, with TLS where it is offered, and with TLS by
DANE; with passwords, by LMTP and by backups; and signed mail that comes back by a way over others."""

import re
import smtplib
import ssl

import pytest

from hosts_peers import PASSWORD
from hosts_site import fixture
from postern import wait_for
from test_dkim import opendkim_finds_fault, records, verify
from test_relay_sts import PolicyHost, page, policy

pytestmark = [pytest.mark.root, pytest.mark.time_limit(180)]
site = fixture()

WAYS = {"plain": "-plain.open", "tls": ".open", "dane": ".signed"}
LINES = "Grüße, 漢字\r\n.\r\n..dots\r\n\r\n\ttabs and blanks \t \r\n" + "é" * 450 + "\r\n"
LARGE = LINES + "0123456789 äöü ABCDEFGHIJKLMNOPQRSTUVWXYZ\r\n" * 22000 + ".end\r\n"


def is_same_text(mail, text):
    return mail.body == text.replace("\r", "").encode()


def used_tls(mail, name):
    """What the field that the host of that name added says."""
    received = next(field for field in mail.message.get_all("Received") if f"by {name}" in field)
    return "TLS" in received or "ESMTPS" in received or "esmtps" in received


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["postfix", "exim"])
def test_to_others(site, name, way):
    """Two mailboxes get it whole; who isn't there comes back."""
    peer, domain = site.peers[name], name + WAYS[way]
    token = site.send(site.ours, "ann@ours.signed", f"ann@{domain}", f"ben@{domain}",
        f"nobody@{domain}", body=LARGE)
    for user in ("ann", "ben"):
        mail = peer.wait_mail(user, token)
        assert is_same_text(mail, LARGE)
        assert used_tls(mail, peer.mx) == (way != "plain")
    report = site.ours.wait_mail("ann", token)
    assert report.message.get_content_type() == "multipart/report"
    assert f"Final-Recipient: rfc822; nobody@{domain}".encode() in report.data
    assert b"\nStatus: 5.1.1" in report.data
    if way == "dane":
        site.ours.postern.wait_log("relay-connected", host=peer.mx, tls=re.compile("dane$"))


def test_to_a_server_whose_handshakes_fail(site):
    """Without TLS, where that may be (Debian's OpenSMTPD breaks each as a server)."""
    peer, postern = site.peers["opensmtpd"], site.ours.postern
    for domain in ("opensmtpd-plain.open", "opensmtpd.open"):
        token = site.send(site.ours, "ann@ours.signed", f"ann@{domain}", f"ben@{domain}",
            f"nobody@{domain}", body=LARGE)
        for user in ("ann", "ben"):
            assert is_same_text(peer.wait_mail(user, token), LARGE)
        assert f"nobody@{domain}".encode() in site.ours.wait_mail("ann", token).data
    assert "EVP lib" in peer.log_text()
    token = site.send(site.ours, "ann@ours.signed", "ann@opensmtpd.signed")
    line = postern.wait_log("delivery-deferred", to="ann@opensmtpd.signed")
    assert re.search("4.7.5 .*TLS failed", line["reply"]), line
    postern.smtpctl("remove", postern.queue("to", "ann@opensmtpd.signed")[0]["id"])
    assert not any(token.encode() in mail.data for mail in peer.mails("ann"))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["postfix", "exim", "opensmtpd"])
def test_from_others(site, name, way):
    peer, domain = site.peers[name], "ours" + WAYS[way]
    token = site.send(peer, f"ann@{name}-plain.open", f"ann@{domain}", f"ben@{domain}",
        f"nobody@{domain}", body=LARGE)
    for user in ("ann", "ben"):
        mail = site.ours.wait_mail(user, token)
        assert is_same_text(mail, LARGE)
        assert used_tls(mail, "mx.ours.signed") == (way != "plain")
    # Their own report.
    assert f"nobody@{domain}".encode() in peer.wait_mail("ann", token).data
    if way == "dane" and name == "postfix":
        peer.wait_log("Verified TLS connection established to mx.ours.signed[10.25.0.10]:25")
    if way == "dane" and name == "exim":
        peer.wait_log(f"ann@{domain}", "CV=dane")


def test_one_message_for_all(site):
    to = [f"{user}@{name}.open" for name in site.peers for user in ("ann", "ben", "cat")]
    token = site.send(site.ours, "ann@ours.signed", *to, "cat@ours.signed", body=LINES)
    for peer in site.peers.values():
        for user in ("ann", "ben", "cat"):
            assert is_same_text(peer.wait_mail(user, token), LINES)
    assert is_same_text(site.ours.wait_mail("cat", token), LINES)


@pytest.mark.parametrize("name", ["postfix", "exim", "opensmtpd"])
def test_lines_of_10000_bytes_arrive_whole_or_come_back(site, name):
    """Not all servers take what is longer than RFC 5321 4.5.3.1.6 says."""
    line = "".join(f"{number:05} " for number in range(1700))
    token = site.send(site.ours, "ann@ours.signed", f"cat@{name}-plain.open",
        body=f"before\r\n{line}\r\nafter\r\n")

    def found():
        return [mail for mail in [*site.peers[name].mails("cat"),
            *site.ours.postern.mails("ann@ours.signed")] if token.encode() in mail.data]
    (mail,) = wait_for(found, what="it is at either end")
    if mail.message.get_content_type() == "multipart/report":
        assert b"\nStatus: 5." in mail.data
    else:
        assert mail.body == f"before\n{line}\nafter\n".encode()


@pytest.mark.parametrize("name, mechanism", [("postfix", "SCRAM-SHA-256"), ("exim", "PLAIN"),
    ("opensmtpd", "PLAIN")])
def test_others_log_in_here(site, name, mechanism):
    """Their smarthost is our port 587."""
    peer = site.peers[name]
    token = site.send(peer, peer.login, "ann@smart.test", body=LINES)
    assert is_same_text(site.ours.wait_mail("ann", token), LINES)
    site.ours.postern.wait_log("auth-ok", user=peer.login, mechanism=mechanism)
    assert used_tls(site.ours.wait_mail("ann", token), "mx.ours.signed")


def test_we_log_in_at_others(site):
    """Exim wants the password; Postfix a certificate that is verified."""
    postern = site.ours.postern
    token = site.send(site.ours, "ann@ours.signed", "ann@exim-smart.open", body=LINES)
    mail = site.peers["exim"].wait_mail("ann", token)
    assert is_same_text(mail, LINES) and "esmtpsa" in mail.message["Received"]
    site.peers["exim"].wait_log("A=plain:relay")
    token = site.send(site.ours, "ann@ours.signed", "ann@postfix-smart.open", body=LINES)
    assert used_tls(site.peers["postfix"].wait_mail("ann", token), "mx.postfix.signed")
    assert PASSWORD not in postern.log_text(0)


@pytest.mark.parametrize("name", ["postfix", "exim", "opensmtpd"])
def test_others_deliver_by_lmtp(site, name):
    peer = site.peers[name]
    token = site.send(peer, f"ann@{name}-plain.open", "ben@lmtp.test", body=LARGE)
    mail = site.ours.wait_mail("ben", token)
    assert mail.body.rstrip(b"\n") == LARGE.replace("\r", "").encode().rstrip(b"\n")
    assert "LMTP" in mail.message["Received"]


class Policies(PolicyHost):
    """The web server of each domain's policy."""

    def __init__(self, site, **mxs):
        contexts = {f"mta-sts.{name}.open": site.authority.context(f"mta-sts.{name}.open")
            for name in mxs}
        context = next(iter(contexts.values()))
        self.name = None

        def choose(socket, name, _context):
            self.name, socket.context = name, contexts.get(name, context)
        context.sni_callback = choose

        def answer(connection, _ended):
            mx = mxs[self.name.split(".")[1]]
            connection.sendall(page(policy(mx=[mx])))
        super().__init__(context, answer)
        self.address = "10.25.0.3"
        with site.lan.inside():
            self.start()


@pytest.fixture(scope="module")
def policies(site):
    host = Policies(site, sts="mx.postfix.signed", **{"sts-exim": "mx.exim.signed",
        "sts-broken": "mx.opensmtpd.signed"})
    yield host
    host.stop()


def test_policies_of_mta_sts_are_kept_to(site, policies):
    postern, postfix = site.ours.postern, site.peers["postfix"]
    postern.mark_log()
    token = site.send(site.ours, "ann@ours.signed", "ann@sts.open", body=LINES)
    assert used_tls(postfix.wait_mail("ann", token), postfix.mx)
    postern.wait_log("relay-connected", host=postfix.mx, policy="sts")
    # This one says so in DNS, and its web server is down.
    token = site.send(site.ours, "ann@ours.signed", "ann@sts-down.open", body=LINES)
    postfix.wait_mail("ann", token)
    postern.wait_log("sts-policy-not-fetched", domain="sts-down.open")
    token = site.send(site.ours, "ann@ours.signed", "ann@sts-broken.open")
    line = postern.wait_log("delivery-deferred", to="ann@sts-broken.open")
    assert "TLS failed" in line["reply"], line
    postern.smtpctl("remove", postern.queue("to", "ann@sts-broken.open")[0]["id"])


def test_an_expired_certificate(site, policies):
    """By DANE it is as good as any that has this key (RFC 7671 5.1), by MTA-STS it isn't."""
    postern, exim = site.ours.postern, site.peers["exim"]
    exim.pause()
    exim.sign("expired")
    exim.begin()
    try:
        token = site.send(site.ours, "ann@ours.signed", "ann@exim.signed")
        assert used_tls(exim.wait_mail("ann", token), exim.mx)
        token = site.send(site.ours, "ann@ours.signed", "ann@sts-exim.open")
        line = postern.wait_log("delivery-deferred", to="ann@sts-exim.open")
        assert re.search("4.7.5.*certificate isn't good.*expired", line["reply"]), line
    finally:
        exim.sign("expired", there=False)
    assert used_tls(exim.wait_mail("ann", token), exim.mx)


def test_we_keep_mail_for_whom_we_are_the_backup(site):
    postern, exim = site.ours.postern, site.peers["exim"]
    exim.pause()
    tokens = [site.send(site.peers[name], f"ann@{name}-plain.open", "ann@backup.open", body=LINES)
        for name in ("postfix", "opensmtpd")]
    postern.wait_log("delivery-deferred", to="ann@backup.open")
    wait_for(lambda: len(postern.queue("to", "ann@backup.open")) == 2, what="both wait here")
    exim.begin()
    for token in tokens:
        assert is_same_text(exim.wait_mail("ann", token), LINES)


def test_mail_waits_with_our_backup(site):
    postern, postfix = site.ours.postern, site.peers["postfix"]
    postern.stop()
    try:
        token = site.send(site.peers["exim"], "ann@exim-plain.open", "ann@shadow.open", body=LINES)
        postfix.wait_log("from=<ann@exim-plain.open>", "queue active")
        postfix.wait_log("to=<ann@shadow.open>", "status=deferred")
    finally:
        postern.start()
    postfix.run("postqueue", "-f")  # tries again now
    assert is_same_text(site.ours.wait_mail("ann", token), LINES)


@pytest.fixture(scope="module")
def published(site):
    """The records of a key of each kind by which we sign."""
    found = {}
    for kind in ("rsa", "ed25519"):
        found.update(records(site.ours.postern, "add", "ours.signed", kind))
    return found


@pytest.mark.parametrize("name", ["postfix", "exim"])
def test_signatures_hold_after_a_way_over_others(site, published, tool, tmp_path, name):
    context = ssl.create_default_context(cafile=site.authority.file)
    context.check_hostname = False
    text = ("From: Ann <ann@ours.signed>\r\nTo: forward@others\r\nSubject:  two  blanks\r\n"
        f"\tand ü\r\n\r\nby {name}\r\n" + LINES)
    with site.client(site.ours.address, 465, smtplib.SMTP_SSL, context=context) as client:
        client.ehlo()
        client.login("ann@ours.signed", PASSWORD)
        assert not client.sendmail("ann@ours.signed", f"forward@{name}.signed", text.encode(),
            ["BODY=8BITMIME", "SMTPUTF8"] if client.has_extn("smtputf8") else ["BODY=8BITMIME"])
    mail = site.ours.wait_mail("ann", f"by {name}\n")
    assert any(f"by mx.{name}.signed" in field for field in mail.message.get_all("Received"))
    assert verify(mail, published) == 2
    assert opendkim_finds_fault(tool, tmp_path, mail, published) == ""
    mail.data = mail.data.replace(b"dots", b"dot")
    assert opendkim_finds_fault(tool, tmp_path, mail, published) != ""
