"""A queue that grew: the short form of `make growth` (regress/bench/growth.py). No times are
looked at here, but that nothing is lost, doubled or mixed up in tens of thousands."""

import collections
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "bench"))

import growth  # noqa: E402

ENVELOPES = 20000


@pytest.fixture
def grown(make_postern):
    """20,000 envelopes of ten senders for a destination that refuses connections: half of them fifty a
    message, half one. Segments are small, so that there are several."""
    postern = make_postern(rules=growth.rules,
        extra="smtp limit max-mails 100000\nqueue segment-size 4M")
    half = ENVELOPES // 2
    growth.send_all(postern.port, growth.envelopes_for("down.test", half, 50, 5), 4, 2)
    growth.send_all(postern.port, growth.envelopes_for("down.test", half, 1, 5), 20, 20)
    return postern


def listed(postern, *filters):
    """Envelope ids and (sender, recipient) as `show queue` has them."""
    lines = postern.smtpctl("show", "queue", *filters, timeout=60).stdout.splitlines()
    fields = [line.split("|") for line in lines]
    return {one[0]: (one[4], one[5]) for one in fields}, len(lines)


def test_tens_of_thousands_are_listed_removed_and_kept_over_a_crash(grown):
    everything, lines = listed(grown)
    assert lines == len(everything) == ENVELOPES
    # Each sender's 1,000 + 1,000.
    senders = collections.Counter(sender for sender, _ in everything.values())
    assert senders == {f"list{number}@client.test": ENVELOPES // 5 for number in range(5)}
    recipients = collections.Counter(to for _, to in everything.values())
    assert recipients == {f"user{number}@down.test": 2 for number in range(ENVELOPES // 2)}
    # One sender's are a stretch in the middle of both halves.
    result = grown.smtpctl("remove", "from", "list2@client.test", timeout=60)
    assert result.stdout == f"{ENVELOPES // 5} envelopes removed\n"
    left = {ident: who for ident, who in everything.items() if who[0] != "list2@client.test"}
    assert listed(grown)[0] == left
    assert listed(grown, "from", "list3@client.test")[1] == ENVELOPES // 5
    assert listed(grown, "to", "user7777@down.test")[0] == {
        ident: who for ident, who in left.items() if who[1] == "user7777@down.test"}
    grown.crash()
    grown.start()
    assert listed(grown)[0] == left
    assert grown.stats()["scheduler.envelope"] == str(len(left))
    # And mail that can be delivered is.
    grown.send("alice@example.test")
    grown.wait_mail("alice@example.test")


def test_a_listing_that_nobody_reads_holds_up_nobody(grown):
    """The queue makes a portion of a listing only when the last was read."""
    listing = subprocess.Popen([grown._command("smtpctl"), "-s", grown.socket, "show", "queue"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    try:
        assert listing.stdout.read1(1)
        grown.send("alice@example.test")
        grown.wait_mail("alice@example.test")
        assert grown.smtpctl("remove", "from", "list0@client.test").stdout == (
            f"{ENVELOPES // 5} envelopes removed\n")
        assert listing.poll() is None
        rest = listing.stdout.read().count(b"\n")
        assert listing.wait(20) == 0
        # What was removed meanwhile is missing in what was not yet listed, and nothing else.
        assert ENVELOPES * 4 // 5 <= rest <= ENVELOPES
    finally:
        listing.kill()
        listing.stdout.close()
        listing.wait()
