"""Answers of a server that wishes workers ill, and the chains that they become."""

import json
from collections.abc import Mapping

from hypothesis import strategies as st

from shoal_client.candidates import from_listing
from shoal_common.heartbeat import Upstream
from shoal_common.listing import decode
from shoal_common.proxylist import ProxyList

_STRINGS = [
    "192.0.2.1",
    "10.0.0.1",
    "2001:db8::1",
    "fe80::1%eth0",
    "sq.test",
    "$(id)",
    "`id`",
    '";reboot;"',
    "'\nid\n'",
    "a\nb",
    "192.0.2.1;DIRECT",
    "192.0.2.1 ",
    "192.0.2.1)(serverurl=http://evil.test",
    '192.0.2.1"/><server url="http://evil.test',
    "]]>",
    "-->",
    "\u2028",
    "%00",
    "\\",
    "null",
]
_VALUES = st.one_of(
    st.sampled_from(_STRINGS), st.text(max_size=12), st.integers(-1, 70000), st.booleans(), st.none()
)
_GOOD = {"hostname": "sq.test", "squid_port": 3128, "public_ip": "203.0.113.7", "private_ip": None}
_ADDRESSES = st.ip_addresses().map(str)
_HOSTILE = st.fixed_dictionaries(
    {},
    optional={
        "hostname": _VALUES,
        "squid_port": st.one_of(st.integers(1, 65535), _VALUES),
        "public_ip": st.one_of(_ADDRESSES, _VALUES),
        "private_ip": st.one_of(_ADDRESSES, _VALUES),
        "ipv6": st.one_of(_ADDRESSES, _VALUES),
        "local": _VALUES,
        "distance": _VALUES,
        "geo_data": _VALUES,
    },
)


def _chain(answer: Mapping[str, object]) -> ProxyList:
    listing = decode(json.dumps(answer).encode())
    return ProxyList.of([[candidate.proxy] for candidate in from_listing(listing, Upstream.CVMFS, 7)])


chains = st.lists(_HOSTILE, max_size=4).map(
    lambda entries: _chain({str(n): _GOOD | entry for n, entry in enumerate([*entries, {}])})
)
"""What a hostile answer leaves to be written: some of it is good."""
