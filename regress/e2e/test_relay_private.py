"""`mta no private-networks`: what others put into DNS, or into addresses, leads to nothing inside."""

import re

import pytest

from smtp_peer import Peer
from test_relay import RULES, make, mx, names, send  # noqa: F401 (fixtures)
from test_relay_sts import domains, page, policy  # noqa: F401 (a fixture)
from test_relay_tls import authority  # noqa: F401 (a fixture)

pytestmark = pytest.mark.root  # ports 25 and 443

NO_PRIVATE = "mta no private-networks\n"


def check_returned(postern, to):
    send(postern, to)
    line = postern.wait_log("delivery-failed", to=to)
    assert re.search("5.4.4 .*private network", line["reply"]), line


def test_servers_that_others_name_inside_are_not_connected_to(make, names):  # noqa: F811
    """By MX records, by the domain's name, by an address literal; a host of the action's is, even
    where it is somebody's MX as well."""
    with Peer() as inside:
        names.set(*mx("far.test", inside), f"host-record=bare.test,{inside.address}")
        rules = RULES.replace('match from any for any', 'action "by-host" relay host "mx0.far.test"\n'
            'match from any for domain "hosted.test" action "by-host"\nmatch from any for any')
        postern = make(rules, NO_PRIVATE)
        for to in ("x@far.test", "x@bare.test", f"x@[{inside.address}]"):
            check_returned(postern, to)
        assert not inside.sessions
        explained = postern.smtpctl("explain", "--to", "x@far.test", check=False).stdout
        assert "private network" in explained
        send(postern, "x@hosted.test")
        inside.wait_messages(1)


def test_web_servers_inside_are_not_asked(domains):  # noqa: F811
    host = domains.host(page(policy()))
    domains.publish("far.test", domains.peer(), host=host)
    postern = domains.start(extra=NO_PRIVATE)
    check_returned(postern, "x@far.test")
    postern.wait_log("sts-policy-not-fetched", domain="far.test",
        reason=re.compile("private network"))
    assert not host.connections
