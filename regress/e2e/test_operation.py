"""smtpctl's words for the queue and the log do what the manual says of them."""

import os
import pathlib
import subprocess
import tempfile
import time

import pytest

from postern import LogLine, wait_for

SOURCE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

int
clock_gettime(clockid_t id, struct timespec *now)
{
	int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
	const char *days = getenv("POSTERN_DAYS");
	int status = real(id, now);

	if (status == 0 && id == CLOCK_REALTIME && days != NULL)
		now->tv_sec += atol(days) * 86400;
	return status;
}
"""


@pytest.fixture(scope="session")
def clock_library():
    """A library that sets a process's wall clock POSTERN_DAYS ahead."""
    with tempfile.TemporaryDirectory(prefix="postern-clock-", dir="/tmp") as folder:
        # Every user of the suite loads it.
        os.chmod(folder, 0o755)
        library = pathlib.Path(folder, "clock.so")
        library.with_suffix(".c").write_text(SOURCE)
        subprocess.run([os.environ.get("CC", "gcc"), "-shared", "-fPIC", "-o", library,
            library.with_suffix(".c"), "-ldl"], check=True)
        yield library


def block(postern, user="bob@example.test"):
    """Puts a file in the way of the user's mail; the function that takes it away again."""
    new = postern.maildir(user) / "new"
    kept = new.with_name("kept")
    new.rename(kept)
    new.write_text("in the way")

    def unblock():
        new.unlink()
        kept.rename(new)
    return unblock


@pytest.fixture
def deferred(postern):
    """Two messages whose delivery failed, so that the next try is minutes away, and what unblocks."""
    postern.send("bob@example.test")
    postern.wait_mail("bob@example.test")
    unblock = block(postern)
    ids = [postern.send("bob@example.test", sender=f"s{n}@client.test") for n in range(2)]
    for message in ids:
        postern.wait_log("delivery-deferred", message=message)
    return ids, unblock


@pytest.mark.parametrize("word, act", [("schedule", "envelope-scheduled"),
    ("discover", "envelope-discovered")], ids=["schedule", "discover"])
def test_what_was_put_off_is_tried_now_and_the_rest_waits(postern, deferred, word, act):
    (first, second), unblock = deferred
    wait_for(lambda: {e["message"] for e in postern.queue("older", "1s")} == {first, second}, 5)
    assert postern.queue("older", "1d") == []
    assert postern.smtpctl("remove", "older", "1d").stdout == "0 envelopes removed\n"
    unblock()
    postern.smtpctl(word, first)
    postern.wait_log("delivered", message=first)
    assert [envelope["message"] for envelope in postern.queue()] == [second]
    assert len(postern.mails("bob@example.test")) == 2
    # One grep for the id that the 250 named tells all of it, each process's lines in order.
    events = [line.event for line in postern.log_lines() if first in line.text]
    queue = ["delivery-deferred", act, "delivered"]
    assert sorted(events) == sorted(["message-accepted", "control-command", *queue])
    assert [event for event in events if event in queue] == queue


def test_the_shape_of_the_queue_is_shown(postern, deferred):
    (first, _), unblock = deferred
    lines = postern.smtpctl("show", "shape").stdout.splitlines()
    assert lines == ["TOTAL|2|2" + 9 * "|0", "example.test|2|2" + 9 * "|0"]
    lines = postern.smtpctl("show", "shape", "senders", first).stdout.splitlines()
    assert lines == ["TOTAL|1|1" + 9 * "|0", "client.test|1|1" + 9 * "|0"]
    unblock()


@pytest.mark.parametrize("days", [-365, 365])
def test_a_clock_a_year_off_loses_no_mail_and_stops_nothing(make_postern, clock_library, days):
    """What waited is delivered, or its sender is told that its time has passed."""
    postern = make_postern(environment={"LD_PRELOAD": str(clock_library), "POSTERN_DAYS": "0"})
    postern.smtpctl("pause", "mda")
    waiting = postern.send("bob@example.test", "Subject: waited\r\n\r\n", sender="alice@example.test")
    postern.stop()
    postern.environment["POSTERN_DAYS"] = str(days)
    postern.start()
    began = time.monotonic()
    wait_for(lambda: postern.mails("bob@example.test") or postern.mails("alice@example.test"))
    wait_for(lambda: {LogLine(text).event for text in postern.log_text(0).splitlines()
        if waiting in text} & {"delivered", "bounce-sent"})
    postern.send("bob@example.test", "Subject: new\r\n\r\n")
    wait_for(lambda: "new" in [mail.message["Subject"] for mail in
        postern.mails("bob@example.test")])
    assert time.monotonic() - began < 20
    postern.wait_queue_empty()


def test_a_verbose_log_tells_more_until_it_is_brief(postern):
    def told():
        return "smtpctl's connection has ended" in postern.log_text()
    postern.smtpctl("show", "status")
    assert not told()
    postern.smtpctl("log", "verbose")
    postern.smtpctl("show", "status")
    wait_for(told, 10)
    postern.smtpctl("log", "brief")
    wait_for(lambda: [line for line in postern.log_lines("control-command", verb="log")
        if line["arguments"] == "brief"], 10)
    postern.mark_log()
    postern.smtpctl("show", "status")
    postern.send("alice@example.test")
    postern.wait_log("delivered")
    assert not told()
