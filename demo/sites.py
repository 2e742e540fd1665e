"""Where the demo takes place: three sites, each with a network of its own inside 127.0.0.0/8.

All of that network is loopback on Linux, so a squid can listen at 127.20.0.10 and a worker can ask from
127.20.0.101 without root, and the server's location table says that 127.20.0.0/24 is Geneva.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Site:
    """A site: its place in degrees, and the first two octets of its network."""

    name: str
    city: str
    country_code: str
    latitude: float
    longitude: float
    prefix: str

    @property
    def network(self) -> str:
        """All addresses of the site."""
        return f"{self.prefix}.0.0/24"

    @property
    def squid_address(self) -> str:
        """Where its squid listens."""
        return f"{self.prefix}.0.10"

    @property
    def squid_name(self) -> str:
        """What its squid calls itself."""
        return f"squid.{self.city.lower()}.example"

    @property
    def worker_address(self) -> str:
        """Where its worker's connections come from."""
        return f"{self.prefix}.0.101"


VICTORIA = Site("UVic", "Victoria", "CA", 48.4634, -123.3117, "127.10")
GENEVA = Site("CERN", "Geneva", "CH", 46.2339, 6.0557, "127.20")
MELBOURNE = Site("UniMelb", "Melbourne", "AU", -37.7983, 144.9610, "127.30")
SITES = (VICTORIA, GENEVA, MELBOURNE)


def location_table(sites: Iterable[Site]) -> str:
    """The text of the server's location table for these sites."""
    lines = ["network,site,latitude,longitude,city,country_code"]
    lines += [
        f"{site.network},{site.name},{site.latitude},{site.longitude},{site.city},{site.country_code}"
        for site in sites
    ]
    return "\n".join(lines) + "\n"
