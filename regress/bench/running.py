"""A server that runs on a fresh disk, and the clients that send to it."""

import json
import os
import subprocess
import threading
import time

from measure import TOP, WORK, Cgroup, Disk, wait_for_mail

TOOLS = TOP / "build/tools/postfix/usr"
CLIENT_SECONDS = 180  # then a client is ended, and the run has failed
WARM_UP = 20
WARM_UP_RUN = 999999
SETTLE = 0.3  # seconds after the last message that still count as its CPU time and flushes


def postfix_tool(*words, **options):
    """smtp-source or smtp-sink, running."""
    environment = {**os.environ, "LD_LIBRARY_PATH": str(TOOLS / "lib/postfix")}
    return subprocess.Popen([str(TOOLS / "sbin" / words[0]), *(str(word) for word in words[1:])],
        env=environment, **options)


class Started:
    """A server on a fresh disk, until the end of the block."""

    def __init__(self, server, delay_us=0):
        self.server = server
        self.delay_us = delay_us

    def warm_up(self):
        """What comes before anything is measured."""

    def __enter__(self):
        self.cgroup = Cgroup(f"bench-{self.server.name}")
        self.disk = Disk(self.server.name, self.delay_us)
        self.started = False
        try:
            self.server.start(self.disk, self.cgroup)
            self.started = True
            self.warm_up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exception):
        try:
            if self.started:
                self.server.stop()
        finally:
            self.cgroup.end()
            self.disk.remove()


class Running(Started):
    """One that takes mail, and has taken some."""

    def warm_up(self):
        load(self.server, "-m", WARM_UP, "-s", 2, "-R", WARM_UP_RUN)
        if wait_for_mail(self.server.maildirs(), WARM_UP) < WARM_UP:
            raise RuntimeError(f"delivers nothing; logs are in {WORK}")
        self.disk.settle()


def load_words(server, *words):
    return [str(word) for word in [WORK / "load", *words, server.port]]


def load(server, *words):
    """The C client's own report."""
    result = subprocess.run(load_words(server, *words), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, timeout=CLIENT_SECONDS + 30, text=True)
    return json.loads(result.stdout)


def source(server, case, messages):
    """The same from smtp-source, which says nothing itself."""
    words = ["smtp-source", "-s", case.sessions, "-m", messages, "-l", case.size, "-f",
        "s@client.test", "-t", "u@example.test"]
    if not case.reconnect:
        words.append("-d")
    if case.recipients > 1:
        words += ["-r", case.recipients]
    with open(WORK / "smtp-source.log", "wb") as log:
        began = time.time()
        process = postfix_tool(*words, f"127.0.0.1:{server.port}", stdin=subprocess.DEVNULL,
            stdout=log, stderr=log)
        watch = threading.Timer(CLIENT_SECONDS, process.terminate)
        watch.start()
        try:
            _pid, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.terminate()
            raise
        finally:
            watch.cancel()
        process.returncode = status
        seconds = time.time() - began
    trouble = (WORK / "smtp-source.log").read_text(errors="replace").strip()
    return {"acknowledged": messages if status == 0 else 0, "refused": 0, "began": began,
        "seconds": seconds, "client_cpu_ms": (usage.ru_utime + usage.ru_stime) * 1e3,
        "refusal": trouble.splitlines()[-1] if trouble else "" if status == 0 else "ended",
        "latency_ms": None}
