"""What goes wrong between hosts (see hosts_site.py): others are down, slow, refuse, have lost
their certificate, are killed, and so is DNS; the mail arrives once all is well again, and no other
waits."""

import re

import pytest

from hosts_peers import Exim, Postfix
from hosts_site import fixture
from smtp_peer import Peer

pytestmark = [pytest.mark.root, pytest.mark.time_limit(120)]
# half: two of its four servers take no mail; down: a host that can't be reached, and another.
site = fixture(peers=(Postfix, Exim), own=("10.25.0.100", "10.25.0.101"), records="""
half IN MX 10 nobody
half IN MX 10 refuses
half IN MX 20 mx.postfix
half IN MX 20 plain.postfix
nobody IN A 10.25.0.100
refuses IN A 10.25.0.101
down IN MX 10 mx.exim
down IN MX 20 mx.postfix
fresh IN MX 10 fresh-host
fresh-host IN A 10.25.0.20
to-localhost IN MX 10 localhost.
to-loopback IN MX 10 loopback
loopback IN A 127.0.0.1
to-us IN MX 10 mx.ours
to-our-address IN MX 10 other-name
other-name IN A 10.25.0.11
to-number IN MX 10 10.25.0.20.
thousand IN MX 1000 mx.postfix
""" + "".join(f"thousand IN MX {number} nobody{number}\n" for number in range(999)))


def send(site, *to):
    return site.send(site.ours, "ann@ours.signed", *to)


@pytest.fixture
def log(site):
    site.ours.postern.mark_log()
    return site.ours.postern


def test_half_of_the_servers_refuse(site, log):
    """The others get it in the same attempt."""
    with site.lan.inside():
        peer = Peer(address="10.25.0.101")
    with peer:
        peer.always("GREETING", "554 5.3.2 no mail here")
        for token in [send(site, "ann@half.open") for _ in range(12)]:
            site.peers["postfix"].wait_mail("ann", token)
    log.wait_log("delivered", to="ann@half.open", count=12)
    assert not log.log_lines("delivery-deferred")
    for host in ("nobody.open", "refuses.open"):
        log.wait_log("relay-not-connected", host=host)


def test_a_host_that_cannot_be_reached(site, log):
    """Its cable is pulled: the packets get no answer."""
    exim = site.peers["exim"]
    site.lan.ip("link set v-exim down")
    try:
        token = send(site, "ann@down.open")
        alone = send(site, "ann@exim.open")
        other = send(site, "ben@postfix.open")
        site.peers["postfix"].wait_mail("ben", other, timeout=3)
        site.peers["postfix"].wait_mail("ann", token)
        assert not log.log_lines("delivery-deferred", to="ann@down.open")
        log.wait_log("delivery-deferred", to="ann@exim.open")
    finally:
        site.lan.ip("link set v-exim up")
    exim.wait_mail("ann", alone)


def test_a_slow_server_holds_up_nobody(site, log):
    slow = send(site, "slow@exim.open")
    for token in [send(site, "ben@postfix.open") for _ in range(5)]:
        site.peers["postfix"].wait_mail("ben", token)
    assert not log.log_lines("delivered", to="slow@exim.open")
    site.peers["exim"].wait_mail("slow", slow)
    log.wait_log("delivered", to="slow@exim.open")


def test_greylisted_mail_comes_again(site, log):
    exim = site.peers["exim"]
    token = send(site, "grey@exim.open", "ann@exim.open")
    exim.wait_mail("ann", token)
    line = log.wait_log("delivery-deferred", to="grey@exim.open")
    assert "greylisted" in line["reply"]
    exim.sign("known")
    exim.wait_mail("grey", token)
    log.wait_log("delivered", to="grey@exim.open")
    assert len([mail for mail in exim.mails("ann") if token.encode() in mail.data]) == 1


def test_a_server_that_has_lost_its_certificate(site, log):
    """It offers STARTTLS and refuses it: where DNS promises TLS, mail waits."""
    exim = site.peers["exim"]
    exim.pause()  # connections that are kept have TLS
    exim.sign("no-certificate")
    exim.begin()
    try:
        token = send(site, "ben@exim.open")
        assert "esmtps" not in exim.wait_mail("ben", token).message["Received"]
        token = send(site, "ben@exim.signed")
        line = log.wait_log("delivery-deferred", to="ben@exim.signed")
        assert re.search(r"4\.7\.\d+ ", line["reply"]), line
    finally:
        exim.sign("no-certificate", there=False)
    assert "esmtps" in exim.wait_mail("ben", token).message["Received"]


def test_a_server_that_is_killed(site, log):
    exim = site.peers["exim"]
    exim.pause()
    exim.begin()
    token = send(site, "slow@exim.open")
    log.wait_log("relay-connected", host="mx.exim.open")
    exim.pause()
    log.wait_log("delivery-deferred", to="slow@exim.open")
    exim.begin()
    exim.wait_mail("slow", token)


@pytest.mark.parametrize("domain, status", [("to-localhost", "5.4.6"), ("to-loopback", "5.4.6"),
    ("to-us", "5.4.6"), ("to-our-address", "5.4.6"), ("to-number", "5.4.4"), ("thousand", "5.4.4")])
def test_mx_records_that_lead_nowhere(site, domain, status):
    """To ourselves in all ways, to an address in the place of a name, to a thousand hosts that DNS
    doesn't have; none of it is tried for days."""
    token = send(site, f"x@{domain}.open")
    report = site.ours.wait_mail("ann", token)
    assert re.search(rb"^Status: " + status.encode() + rb"\r?$", report.data, re.M), report.data


def test_dns_that_is_down(site, log):
    site.lan.run("pkill", "-KILL", "nsd")
    try:
        token = send(site, "ann@fresh.open")
        line = log.wait_log("delivery-deferred", to="ann@fresh.open", timeout=40)
        assert "fresh.open" in line["reply"]
    finally:
        site.dns.stop()
        site.dns.start(site.zones)
    site.peers["postfix"].wait_mail("ann", token, timeout=40)
