"""Hosts as network namespaces, joined by a bridge with limited rates or a relay that delays; gone at the end."""

from __future__ import annotations

import fcntl
import os
import select
import shutil
import struct
import subprocess
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TUN, SET_INTERFACE, TAP_WITHOUT_HEADER = "/dev/net/tun", 0x400454CA, 0x1002
MTU = 60000
EVERYONE = b"\xff" * 6


class Unable(Exception):
    """Why there can be no such network here."""


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unable(f"ip {' '.join(words)}: {done.stderr.strip() or done.returncode}")


@contextmanager
def namespaces(hosts: int) -> Iterator[list[str]]:
    """Empty ones, with their loopback; their devices go with them."""
    if os.geteuid() != 0:
        raise Unable("network namespaces need root")
    if shutil.which("ip") is None or shutil.which("tc") is None:
        raise Unable("there is no ip or tc: install iproute2")
    names = [f"regard-{os.getpid()}-{n}" for n in range(hosts)]
    made: list[str] = []
    try:
        for name in names:
            ip("netns", "add", name)
            made.append(name)
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


def inside(name: str, device: str, host: int) -> None:
    """A device as eth0 of a host, with its address."""
    ip("link", "set", device, "netns", name)
    ip("-n", name, "link", "set", device, "name", "eth0", "address", f"02:00:00:00:00:{host:02x}")
    ip("-n", name, "address", "add", f"10.77.0.{host + 1}/24", "dev", "eth0")
    ip("-n", name, "link", "set", "eth0", "up")


@contextmanager
def bridge(hosts: int) -> Iterator[list[str]]:
    """Hosts on one switch, which stands in a namespace of its own."""
    with namespaces(hosts + 1) as (*names, switch):
        ip("-n", switch, "link", "add", "br0", "type", "bridge")
        ip("-n", switch, "link", "set", "br0", "up")
        for host, name in enumerate(names):
            near, far = f"rg{os.getpid()}h{host}", f"rg{os.getpid()}s{host}"
            ip("link", "add", near, "type", "veth", "peer", "name", far)
            ip("link", "set", far, "netns", switch)
            ip("-n", switch, "link", "set", far, "name", f"port{host}", "master", "br0", "up")
            inside(name, near, host)
        yield [*names]


def limited(names: list[str], rate: int) -> None:
    """What each host sends, in bits a second."""
    for name in names:
        words = ["-n", name, "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", f"{rate}bit"]
        done = subprocess.run(
            ["tc", *words, "burst", "128kb", "latency", "400ms"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Unable(f"tc … tbf: {done.stderr.strip()}")


@contextmanager
def relay(hosts: int, delay: float) -> Iterator[list[str]]:
    """Hosts joined by a process that passes every frame on, `delay` seconds later."""
    if not Path(TUN).exists():
        raise Unable(f"there is no {TUN}")
    with namespaces(hosts) as names:
        ends = []
        for host, name in enumerate(names):
            device = f"rg{os.getpid()}t{host}"
            end = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(end, SET_INTERFACE, struct.pack("16sH", device.encode(), TAP_WITHOUT_HEADER))
            ends.append(end)
            ip("link", "set", device, "mtu", str(MTU))
            inside(name, device, host)
        child = os.fork()
        if not child:
            pass_on(ends, delay)
        try:
            yield names
        finally:
            os.kill(child, 9)
            os.waitpid(child, 0)
            for end in ends:
                os.close(end)


def pass_on(ends: list[int], delay: float) -> None:
    """Frames wait in the order in which they came; all wait equally long."""
    waiting: deque[tuple[float, int, bytes]] = deque()
    while True:
        left = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        for end in select.select(ends, [], [], left)[0]:
            frame = os.read(end, MTU + 64)
            for other, to in enumerate(ends):
                if to != end and (frame[:6] == EVERYONE or frame[0] & 1 or frame[5] == other):
                    waiting.append((time.monotonic() + delay, to, frame))
        while waiting and waiting[0][0] <= time.monotonic():
            _, to, frame = waiting.popleft()
            try:
                os.write(to, frame)
            except OSError:  # the host's queue is full: lost, as on any wire
                continue
