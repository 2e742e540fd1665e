"""The regular-expression reader of deployed clients, written anew from what they accept (docs/rest.md)."""

import re

SCALARS = (
    "load",
    "distance",
    "squid_port",
    "last_active",
    "created",
    "external_ip",
    "hostname",
    "public_ip",
    "private_ip",
    "local",
)
GEO = (
    "city",
    "region_name",
    "area_code",
    "time_zone",
    "dma_code",
    "metro_code",
    "country_code3",
    "latitude",
    "postal_code",
    "longitude",
    "country_code",
    "country_name",
    "continent",
)


class OldReader:
    """Reads as clients 0.5 to 1.0.4 do: hit number i of a key belongs to entry i, wherever it stands."""

    def __init__(self, text: str) -> None:
        self.count = len(re.findall(r'"load": ([^,}]+)', text))
        self.hits = {key: re.findall(rf'"{key}": ([^,]+)[,|}}]', text) for key in SCALARS}
        self.geo = {key: re.findall(rf'"{key}": ("[^"]*|[^,]*)', text) for key in GEO}

    def scalar(self, key: str, index: int) -> str | None:
        """Text without its quotes; None for whatever holds `null`."""
        hit = str(self.hits[key][index])
        return None if "null" in hit else hit.strip('"')
