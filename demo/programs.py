"""The agents of the demo, with short intervals so that nobody has to wait."""

from pathlib import Path

from demo.sites import Site
from testbed.program import Program

INTERFACE_LIMIT = 12_500_000
"""kB/s: 100 Gb/s, so that whatever else this machine sends over loopback is no load to speak of."""


class ShoalAgent(Program):
    """`shoal-agent` beside the squid of a site, which listens at `cache_port`.

    It listens nowhere; that it works shows in the server's list.
    """

    def __init__(self, directory: Path, site: Site, *, amqp: str, cache_port: int, cvmfs_url: str) -> None:
        flags: list[object] = [
            *("--amqp", amqp, "--interval", 1),
            *("--hostname", site.squid_name, "--external-ip", site.squid_address),
            *("--interface", "lo", "--max-load", INTERFACE_LIMIT, "--cache-port", cache_port),
            *("--check-urls", cvmfs_url, "--check-interval", 1, "--check-retry", 0.3),
            *("--check-rise", 1, "--check-fall", 2),
        ]
        super().__init__(directory, ["demo.vm", site.squid_address, "shoal_agent.cli"], flags)
