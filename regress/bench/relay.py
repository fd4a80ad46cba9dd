"""Mail in over SMTP, and out again to other servers: to one destination as fast as it goes, and to
many of which some never answer.
"""

import json
import mmap
import os
import re
import struct
import subprocess
import time

import network
from measure import PATIENCE, WORK
from running import CLIENT_SECONDS, SETTLE, Running, load, postfix_tool

ANSWERING = 700
SILENT = 300
EACH = 20  # messages to each of those


class Sink:
    """Takes mail on port 25 and accounts for it, while the block lasts."""

    title = "sink.c"

    def __init__(self, run, messages, address):
        self.words = [run, messages, WORK / "sink.progress", 25, address]

    def __enter__(self):
        (WORK / "sink.progress").unlink(missing_ok=True)
        self.process = subprocess.Popen([str(word) for word in [WORK / "sink", *self.words]],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError("the sink doesn't start")
        with open(WORK / "sink.progress", "rb") as file:
            self.page = mmap.mmap(file.fileno(), 16, prot=mmap.PROT_READ)
        return self

    def have(self):
        return struct.unpack_from("QQ", self.page)[0]

    def last(self):
        """When the last one came, seconds since 1970."""
        return struct.unpack_from("QQ", self.page)[1] / 1e9

    def result(self):
        self.process.stdin.close()
        result = json.loads(self.process.stdout.readline())
        self.process.wait(10)
        return result

    def __exit__(self, *_exception):
        self.process.kill()
        self.process.wait(10)


class PostfixSink:
    """The same with smtp-sink, which only counts."""

    title = "smtp-sink"

    def __init__(self, _run, _messages, address):
        self.address = address
        self.seen = self.last_seen = 0

    def __enter__(self):
        self.output = open(WORK / "smtp-sink.count", "w+b")
        self.process = postfix_tool("smtp-sink", "-u", "nobody", "-c", f"{self.address}:25", 1024,
            stdin=subprocess.DEVNULL, stdout=self.output, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not network.listens(25):
            if time.monotonic() > deadline:
                raise RuntimeError("smtp-sink doesn't start")
            time.sleep(0.02)
        return self

    def have(self):
        """Where a counter is written over itself, its last form counts."""
        size = os.fstat(self.output.fileno()).st_size
        tail = os.pread(self.output.fileno(), 64, max(size - 64, 0))
        numbers = re.findall(rb"\d+", tail)
        now = int(numbers[-1]) if numbers else 0
        if now > self.seen:
            self.seen, self.last_seen = now, time.time()
        return self.seen

    def last(self):
        return self.last_seen

    def result(self):
        """Who terminates it would not learn its CPU time: that is read before."""
        fields = open(f"/proc/{self.process.pid}/stat").read().rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        return {"present": self.seen, "duplicates": 0, "damaged": 0,
            "cpu_ms": ticks * 1e3 / os.sysconf("SC_CLK_TCK")}

    def __exit__(self, *_exception):
        self.process.terminate()
        self.process.wait(10)
        self.output.close()


SINKS = {"sink.c": Sink, "smtp-sink": PostfixSink}


def wait_for(sink, wanted):
    """Until it has as many, or no new one has come for a while; how many it has."""
    have, since = 0, time.monotonic()
    while True:
        now = sink.have()
        if now > have:
            have, since = now, time.monotonic()
        if now >= wanted or time.monotonic() - since > PATIENCE:
            return now
        time.sleep(0.02)


def measure_relay(server, name, sessions, messages, run, delay_us):
    """One destination: a row, from the first connection until the sink has all."""
    row = {"server": server.name, "case": "relay", "client": name, "sessions": sessions,
        "size": "4096", "recipients": 1, "messages": messages}
    with network.Names(), SINKS[name](run, messages, network.SINK) as sink, \
            Running(server, delay_us) as running:
        flushes, cpu = running.disk.flushes(), running.cgroup.cpu_ms()
        sent = load(server, "-m", messages, "-s", sessions, "-R", run, "-t", "u@remote.test",
            "-T", CLIENT_SECONDS * 1000)
        have = wait_for(sink, messages)
        time.sleep(SETTLE)
        cpu, flushes = running.cgroup.cpu_ms() - cpu, running.disk.flushes() - flushes
        found = sink.result()
        seconds = max(sink.last() - sent["began"], 1e-6)
        row.update(taken_per_s=sent["acknowledged"] / max(sent["seconds"], 1e-6),
            stored_per_s=have / seconds, mb_per_s=have / seconds * 4096 / 1e6,
            cpu_ms=cpu / messages, flushes=flushes / messages,
            client_cpu_ms=(sent["client_cpu_ms"] + found["cpu_ms"]) / messages,
            refused=sent["refused"], lost=max(sent["acknowledged"] - found["present"], 0),
            duplicates=found["duplicates"], damaged=found["damaged"], note=sent["refusal"])
    return row


def measure_silent(server, silent, run, delay_us):
    """Many destinations, with mail waiting for all of them when the relay is let go: how long until
    those that answer have theirs."""
    messages, wanted = (ANSWERING + silent) * EACH, ANSWERING * EACH
    row = {"server": server.name, "case": f"{ANSWERING} destinations" +
        (f", {silent} silent" if silent else ""), "client": "load", "sessions": 20,
        "size": "4096", "recipients": 1, "messages": messages}
    with network.Names(ANSWERING, silent), Sink(run, messages, "0.0.0.0") as sink, \
            Running(server, delay_us) as running:
        server.control("pause", "mta")
        sent = load(server, "-m", messages, "-s", 20, "-R", run, "-t", "u@remote.test", "-D",
            ANSWERING + silent)
        running.disk.settle()
        flushes, cpu, began = running.disk.flushes(), running.cgroup.cpu_ms(), time.time()
        server.control("resume", "mta")
        have = wait_for(sink, wanted)
        time.sleep(SETTLE)
        row.update(stored_per_s=have / max(sink.last() - began, 1e-6),
            cpu_ms=(running.cgroup.cpu_ms() - cpu) / wanted,
            flushes=(running.disk.flushes() - flushes) / wanted)
        found = sink.result()
        row.update(lost=max(wanted - found["present"], 0) + messages - sent["acknowledged"],
            duplicates=found["duplicates"], damaged=found["damaged"], note=sent["refusal"])
    return row
