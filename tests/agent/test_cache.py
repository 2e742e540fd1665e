"""Finding the cache and its port in /proc."""

import os
import socket
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from shoal_agent.cache import Cache, Wanted
from shoal_agent.detect import awaited, detect, hidden, left_out
from shoal_agent.proc import Process, cpu_seconds, processes
from shoal_agent.sockets import PROC, Listener, in_tables, listeners
from shoal_common.heartbeat import CacheType, Upstream
from shoal_common.hosts import HostPort
from tests.conftest import StartSquid, StartVarnish

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
SQUID_UID = 31


class Proc:
    """A /proc of our own making."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "net").mkdir()
        for name in ("tcp", "tcp6"):
            (root / "net" / name).write_text(HEADER)

    def socket(self, address: str, port: int, uid: int, inode: int = 1, state: str = "0A") -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        raw = socket.inet_pton(family, address)
        words = [int.from_bytes(raw[at : at + 4], sys.byteorder) for at in range(0, len(raw), 4)]
        local = "".join(f"{word:08X}" for word in words) + f":{port:04X}"
        zeros = "00000000:00000000 00:00000000 00000000"
        line = f"   0: {local} 00000000:0000 {state} {zeros} {uid:5d}        0 {inode} 1\n"
        with (self.root / "net" / ("tcp6" if ":" in address else "tcp")).open("a") as table:
            table.write(line)

    def process(
        self,
        pid: int,
        name: str,
        uid: int,
        inodes: tuple[int, ...] | None = None,
        arguments: str = "",
        parent: int = 1,
    ) -> None:
        entry = self.root / str(pid)
        entry.mkdir()
        (entry / "comm").write_text(f"{name}\n")
        (entry / "cmdline").write_text("\0".join([name, *arguments.split()]) + "\0")
        (entry / "status").write_text(f"Name:\t{name}\nPPid:\t{parent}\nUid:\t0\t{uid}\t0\t{uid}\n")
        if inodes is not None:
            (entry / "fd").mkdir()
            for number, inode in enumerate(inodes):
                (entry / "fd" / str(number)).symlink_to(f"socket:[{inode}]")
            (entry / "fd" / "99").symlink_to("/dev/null")


@pytest.fixture
def proc(tmp_path: Path) -> Proc:
    return Proc(tmp_path)


def found(proc: Proc, port: int | None = None, kind: CacheType | None = None) -> tuple[HostPort, CacheType]:
    cache = find(Wanted(port, type=kind), proc.root)
    return cache.place, cache.type


def find(wanted: Wanted, proc: Path) -> Cache:
    """The likeliest cache, or the one that is awaited."""
    return next(iter(detect(wanted, proc)), awaited(wanted))


def ports(proc: Proc, wanted: Wanted | None = None) -> list[int]:
    """Those of all caches that are announced."""
    return [cache.place.port for cache in detect(wanted or Wanted(), proc.root)]


def test_listening_sockets_are_read_with_address_port_and_user(proc: Proc) -> None:
    proc.socket("10.1.2.3", 3128, uid=31, inode=77)
    proc.socket("fd00::5", 3129, uid=0, inode=78)
    assert listeners(proc.root) == (Listener("10.1.2.3", 3128, 31, 77), Listener("fd00::5", 3129, 0, 78))


def test_connections_are_no_listening_sockets(proc: Proc) -> None:
    proc.socket("127.0.0.1", 3128, uid=31, state="01")
    assert listeners(proc.root) == ()


def test_where_proc_tells_nothing_nothing_listens(tmp_path: Path) -> None:
    assert listeners(tmp_path / "proc") == ()
    assert detect(Wanted(), tmp_path / "proc") == ()


def test_the_kernel_and_its_tables_tell_the_same_sockets() -> None:
    with socket.create_server(("127.0.0.1", 0)) as four, socket.create_server(("127.0.0.1", 0)) as other:
        ports = [each.getsockname()[1] for each in (four, other)]
        by_kernel, by_tables = (
            {each for each in found if each.port in ports} for found in (listeners(), in_tables(PROC))
        )
        inode = os.fstat(four.fileno()).st_ino
    assert by_kernel == by_tables
    assert Listener("127.0.0.1", ports[0], os.geteuid(), inode) in by_kernel


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="there is no IPv6 here")
def test_the_kernel_tells_sockets_of_ipv6_too() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as six:
        assert ("::1", six.getsockname()[1]) in {(each.address, each.port) for each in listeners()}


def test_where_the_kernel_does_not_answer_its_tables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr("shoal_agent.sockdiag.listening", refuse)
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert server.getsockname()[1] in {each.port for each in listeners()}


def test_without_a_cache_the_usual_port_is_assumed(proc: Proc) -> None:
    assert found(proc) == (HostPort("127.0.0.1", 3128), CacheType.SQUID)
    assert found(proc, kind=CacheType.VARNISH) == (HostPort("127.0.0.1", 6081), CacheType.VARNISH)


def test_a_configured_port_wins_over_what_is_found(proc: Proc) -> None:
    proc.process(10, "squid", SQUID_UID)
    proc.socket("0.0.0.0", 3128, SQUID_UID)
    assert found(proc, port=3199)[0] == HostPort("127.0.0.1", 3199)


def test_a_squids_port_is_found_by_its_user(proc: Proc) -> None:
    proc.process(10, "squid", SQUID_UID)
    proc.socket("::", 3111, SQUID_UID)
    proc.socket("0.0.0.0", 22, uid=0)
    assert found(proc) == (HostPort("127.0.0.1", 3111), CacheType.SQUID)


def test_a_squids_port_is_found_by_its_open_files_where_they_may_be_seen(proc: Proc) -> None:
    proc.process(10, "squid", SQUID_UID, inodes=(501, 502))
    proc.socket("0.0.0.0", 4000, SQUID_UID, inode=400)
    proc.socket("0.0.0.0", 3111, SQUID_UID, inode=502)
    assert found(proc)[0].port == 3111


def test_roots_other_ports_are_not_taken_for_a_caches(proc: Proc) -> None:
    proc.process(10, "varnishd", uid=0)
    proc.socket("0.0.0.0", 22, uid=0)
    assert found(proc, kind=CacheType.VARNISH)[0].port == 6081


def test_of_several_ports_the_usual_one_is_taken(proc: Proc) -> None:
    proc.process(10, "squid", SQUID_UID)
    for port in (3000, 3128, 8080):
        proc.socket("0.0.0.0", port, SQUID_UID)
    assert found(proc)[0].port == 3128


def test_a_port_for_others_comes_before_one_on_loopback(proc: Proc) -> None:
    proc.process(10, "squid", SQUID_UID)
    proc.socket("127.0.0.1", 3128, SQUID_UID)
    proc.socket("0.0.0.0", 3129, SQUID_UID)
    assert found(proc)[0].port == 3129


def test_a_squid_bound_to_one_address_is_tested_there(proc: Proc) -> None:
    proc.process(10, "squid", SQUID_UID)
    proc.socket("10.1.2.3", 3128, SQUID_UID)
    assert found(proc)[0] == HostPort("10.1.2.3", 3128)


def test_a_varnish_is_found_and_called_so(proc: Proc) -> None:
    proc.process(10, "varnishd", uid=120, arguments="-F -a :6082,HTTP -T localhost:6083")
    proc.socket("0.0.0.0", 6082, uid=120)
    proc.socket("127.0.0.1", 6083, uid=120)
    assert found(proc) == (HostPort("127.0.0.1", 6082), CacheType.VARNISH)


def test_the_configured_type_decides_which_of_two_caches_is_meant(proc: Proc) -> None:
    proc.process(10, "squid", SQUID_UID)
    proc.process(11, "varnishd", uid=120, arguments="-a :6081")
    proc.socket("0.0.0.0", 3128, SQUID_UID)
    proc.socket("0.0.0.0", 6081, uid=120)
    assert found(proc, kind=CacheType.VARNISH)[0].port == 6081


def test_a_real_squid_is_found(start_squid: StartSquid) -> None:
    squid = start_squid()
    process = next(each for each in processes() if each.pid == squid.pid)
    assert [listener.port for listener in listeners() if process.owns(listener)] == [squid.port]
    assert replace(process, inodes=None).owns(next(each for each in listeners() if each.port == squid.port))


def test_a_varnish_of_root_is_found_by_its_arguments(proc: Proc) -> None:
    proc.process(
        10, "varnishd", uid=0, arguments="-j unix -a http=10.1.2.3:6090,HTTP -f /etc/varnish/default.vcl"
    )
    proc.socket("0.0.0.0", 22, uid=0)
    proc.socket("10.1.2.3", 6090, uid=0)
    assert found(proc) == (HostPort("10.1.2.3", 6090), CacheType.VARNISH)


@pytest.mark.parametrize(
    ("arguments", "ports"),
    [
        (["-a", ":6081"], {6081}),
        (["-a:6081"], {6081}),
        (["-a", "http=[::1]:6081,PROXY", "-a", "localhost:8443"], {6081, 8443}),
        (["-a", "/run/varnish.sock"], {80}),
        (["-F"], {80}),
    ],
)
def test_a_varnishs_arguments_name_its_ports(arguments: list[str], ports: set[int]) -> None:
    assert Process(1, CacheType.VARNISH, 0, None, tuple(arguments)).served_ports == ports


def test_two_squids_on_one_port_are_told_apart_by_address(proc: Proc) -> None:
    proc.process(10, "squid", SQUID_UID, inodes=(1,))
    proc.process(11, "squid", SQUID_UID, inodes=(2,))
    proc.socket("10.1.2.3", 3128, SQUID_UID, inode=1)
    proc.socket("10.1.2.4", 3128, SQUID_UID, inode=2)
    caches = [find(Wanted(3128, address), proc.root) for address in ("10.1.2.3", "10.1.2.4")]
    assert [(cache.pid, cache.place.host, cache.bound) for cache in caches] == [
        (10, "10.1.2.3", frozenset(["10.1.2.3"])),
        (11, "10.1.2.4", frozenset(["10.1.2.4"])),
    ]
    assert [cache.pid for cache in detect(Wanted(), proc.root)] == [10, 11]


def test_a_squid_for_others_comes_before_one_on_loopback_at_the_same_port(proc: Proc) -> None:
    proc.process(10, "squid", SQUID_UID, inodes=(1,))
    proc.process(11, "squid", SQUID_UID, inodes=(2,))
    proc.socket("127.0.0.1", 3128, SQUID_UID, inode=1)
    proc.socket("10.1.2.4", 3128, SQUID_UID, inode=2)
    assert find(Wanted(3128), proc.root).pid == 11


def test_the_workers_of_one_squid_are_one_cache(proc: Proc) -> None:
    proc.process(10, "squid", uid=0)
    for pid in (11, 12, 13):
        proc.process(pid, "squid", SQUID_UID, parent=10)
    for port in (3128, 3129):
        proc.socket("0.0.0.0", port, SQUID_UID)
    assert [(cache.place.port, cache.pid) for cache in detect(Wanted(), proc.root)] == [(3128, 10)]


def test_a_squid_can_keep_one_core_busy_for_each_worker(proc: Proc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    proc.process(10, "squid", uid=0)
    for pid, kid in ((11, "squid-1"), (12, "squid-2"), (13, "squid-disk-3"), (14, "squid-coord-4")):
        proc.process(pid, "squid", SQUID_UID, arguments=f"--kid {kid} --foreground", parent=10)
    proc.socket("0.0.0.0", 3128, SQUID_UID)
    assert [cache.cores for cache in detect(Wanted(), proc.root)] == [2]
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert [cache.cores for cache in detect(Wanted(), proc.root)] == [1]


def test_a_squid_without_workers_can_keep_one_core_busy_and_a_varnish_all(
    proc: Proc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    proc.process(10, "squid", SQUID_UID, arguments="-N")
    proc.socket("0.0.0.0", 3128, SQUID_UID)
    proc.process(11, "varnishd", uid=120, arguments="-a :6081")
    proc.socket("0.0.0.0", 6081, uid=120)
    assert [cache.cores for cache in detect(Wanted(), proc.root)] == [1, 8]


def test_workers_that_outlived_their_squid_are_one_cache(proc: Proc) -> None:
    for pid in (10, 11, 12):
        proc.process(pid, "squid", SQUID_UID, inodes=(1,))
    proc.socket("0.0.0.0", 3128, SQUID_UID, inode=1)
    assert ports(proc) == [3128]


def test_every_cache_of_the_vm_is_found(proc: Proc) -> None:
    proc.process(10, "squid", SQUID_UID, inodes=(1, 2))
    proc.process(11, "squid", SQUID_UID, inodes=(3,))
    proc.process(12, "varnishd", 120, arguments="-a :6081")
    proc.process(13, "varnishd", 120, arguments="-a :6082", parent=1)
    for inode, port in enumerate((3128, 8080, 3130), start=1):
        proc.socket("0.0.0.0", port, SQUID_UID, inode)
    for port in (6081, 6082):
        proc.socket("0.0.0.0", port, 120)
    assert ports(proc) == [3128, 3130, 6081, 6082]
    assert ports(proc, Wanted(type=CacheType.VARNISH)) == [6081, 6082]
    assert ports(proc, Wanted(3130)) == [3130]


def test_another_port_of_a_squid_is_taken_where_that_is_meant(proc: Proc) -> None:
    proc.process(10, "squid", SQUID_UID)
    for port in (3128, 8080):
        proc.socket("0.0.0.0", port, SQUID_UID)
    assert ports(proc, Wanted(8080)) == [8080]


def test_squids_of_one_user_whose_files_are_hidden_have_as_many_ports_as_they_are(proc: Proc) -> None:
    for pid in (10, 20):
        proc.process(pid, "squid", uid=0)
        proc.process(pid + 1, "squid", SQUID_UID, parent=pid)
    for port in (3128, 3129, 8000):
        proc.socket("0.0.0.0", port, SQUID_UID)
    assert [(cache.place.port, cache.pid) for cache in detect(Wanted(), proc.root)] == [
        (3128, None),
        (3129, None),
    ]


def test_squids_of_one_user_at_one_port_are_told_apart_by_address(proc: Proc) -> None:
    for pid in (10, 11):
        proc.process(pid, "squid", SQUID_UID)
    for address in ("10.1.2.3", "10.1.2.4"):
        proc.socket(address, 3128, SQUID_UID)
    assert [cache.place.host for cache in detect(Wanted(), proc.root)] == ["10.1.2.3", "10.1.2.4"]


@pytest.mark.parametrize("arguments", ["-k rotate", "-kreconfigure", "-f /etc/squid.conf -z"])
def test_a_command_to_a_squid_is_no_cache(proc: Proc, arguments: str) -> None:
    proc.process(10, "squid", SQUID_UID)
    proc.process(11, "squid", SQUID_UID, arguments=arguments)
    for port in (3128, 3129):
        proc.socket("0.0.0.0", port, SQUID_UID)
    assert ports(proc) == [3128]


def test_a_cache_that_only_this_vm_reaches_is_left_out_beside_another(proc: Proc) -> None:
    proc.process(10, "squid", SQUID_UID, inodes=(1,))
    proc.process(11, "squid", SQUID_UID, inodes=(2,))
    proc.socket("127.0.0.1", 3128, SQUID_UID, inode=1)
    proc.socket("0.0.0.0", 3129, SQUID_UID, inode=2)
    chosen = detect(Wanted(), proc.root)
    assert [cache.place.port for cache in chosen] == [3129]
    assert [cache.place.port for cache in left_out(chosen, proc.root)] == [3128]


def test_the_caches_of_other_containers_are_found_by_their_usual_ports(proc: Proc) -> None:
    for port in (3128, 6081, 8080):
        proc.socket("0.0.0.0", port, uid=0)
    assert ports(proc) == [3128, 6081]


def test_a_cache_of_another_network_is_none_of_this_one(proc: Proc, tmp_path: Path) -> None:
    for pid in (10, 11):
        proc.process(pid, "squid", SQUID_UID)
    for inode, port in enumerate((3128, 8080), start=1):
        proc.socket("0.0.0.0", port, SQUID_UID, inode)
    (tmp_path / "container").mkdir()
    container = Proc(tmp_path / "container")
    container.socket("0.0.0.0", 3128, SQUID_UID, inode=9)
    (proc.root / "11" / "net").symlink_to(container.root / "net")
    assert [(cache.place.port, cache.pid) for cache in detect(Wanted(), proc.root)] == [(3128, 10)]


def test_beside_a_cache_that_is_seen_a_usual_port_alone_is_none(proc: Proc) -> None:
    proc.process(10, "squid", SQUID_UID)
    proc.socket("0.0.0.0", 3128, SQUID_UID)
    proc.socket("0.0.0.0", 6081, uid=0)
    assert ports(proc) == [3128]
    proc.process(11, "varnishd", uid=120, arguments="-a /run/varnish.sock")
    assert ports(proc) == [3128, 6081]


def test_the_manager_is_asked_over_loopback_where_the_squid_listens_there() -> None:
    def manager(*bound: str) -> str:
        place = HostPort("10.1.2.3", 3128)
        return Cache(place, CacheType.SQUID, Upstream.BOTH, "", frozenset(bound)).manager.host

    assert manager("10.1.2.3", "127.0.0.1") == "127.0.0.1"
    assert manager("::") == "127.0.0.1"
    assert manager("10.1.2.3") == "10.1.2.3"


@pytest.mark.parametrize(
    ("port", "upstream"), [(6081, Upstream.CVMFS), (6082, Upstream.FRONTIER), (8080, Upstream.BOTH)]
)
def test_the_usual_ports_of_varnish_say_its_purpose(proc: Proc, port: int, upstream: Upstream) -> None:
    proc.process(10, "varnishd", uid=120, arguments=f"-a :{port}")
    proc.socket("0.0.0.0", port, uid=120)
    assert find(Wanted(), proc.root).upstream is upstream
    assert find(Wanted(upstream=Upstream.BOTH), proc.root).upstream is Upstream.BOTH


def test_the_cache_of_another_container_is_found_by_its_usual_port(proc: Proc) -> None:
    proc.socket("0.0.0.0", 6082, uid=120)
    cache = find(Wanted(), proc.root)
    assert (cache.place.port, cache.type, cache.pid) == (6082, CacheType.VARNISH, None)
    assert "cannot be seen" in cache.source


def test_a_cache_that_does_not_show_its_port_is_told(proc: Proc) -> None:
    proc.process(10, "squid", uid=0)
    assert [process.pid for process in hidden(proc.root)] == [10]


def test_a_real_varnish_is_found_with_its_working_directory_and_its_cpu_time(
    start_varnish: StartVarnish,
) -> None:
    varnish = start_varnish("127.0.0.1:1")
    cache = next(iter(detect(Wanted(varnish.port))))
    assert (cache.type, cache.working_directory) == (CacheType.VARNISH, str(varnish.workdir))
    assert (cpu_seconds(varnish.pid) or -1) >= 0


def test_a_process_that_is_gone_has_no_cpu_time(proc: Proc) -> None:
    assert cpu_seconds(4, proc.root) is None
