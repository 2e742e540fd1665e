"""Regions of providers, networks that the operator declared, and which path costs money."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_common.errors import SettingsError
from shoal_server.networks import Belonging, Cost, read_networks, together
from shoal_server.prefixes import parsed
from shoal_server.squid import UNKNOWN_OWNER, Owner, metered

AWS = {
    "syncToken": "1700000000",
    "createDate": "2026-06-01-00-00-00",
    "prefixes": [
        {
            "ip_prefix": "192.0.2.2/25",
            "region": "us-east-1",
            "network_border_group": "us-east-1",
            "service": "AMAZON",
        },
        {
            "ip_prefix": "192.0.2.2/25",
            "region": "us-east-1",
            "network_border_group": "us-east-1",
            "service": "EC2",
        },
        {
            "ip_prefix": "192.0.2.128/25",
            "region": "GLOBAL",
            "network_border_group": "GLOBAL",
            "service": "CLOUDFRONT",
        },
    ],
    "ipv6_prefixes": [
        {
            "ipv6_prefix": "2001:db8:1::/48",
            "region": "eu-central-1",
            "network_border_group": "eu-central-1",
            "service": "EC2",
        }
    ],
}
GOOGLE = {
    "syncToken": "1700000000000",
    "creationTime": "2026-06-01T00:00:00.0",
    "prefixes": [
        {"ipv4Prefix": "192.0.2.0/25", "service": "Google Cloud", "scope": "europe-west1"},
        {"ipv6Prefix": "2001:db8:1::/48", "service": "Google Cloud", "scope": "asia-east1"},
        {"ipv4Prefix": "192.0.2.128/25", "service": "Google Cloud", "scope": "global"},
    ],
}
AZURE = {
    "changeNumber": 300,
    "cloud": "Public",
    "values": [
        {
            "name": "AzureCloud",
            "id": "AzureCloud",
            "properties": {
                "changeNumber": 9,
                "region": "",
                "platform": "Azure",
                "systemService": "",
                "addressPrefixes": ["192.0.2.0/25", "192.0.2.128/25"],
            },
        },
        {
            "name": "AzureCloud.westeurope",
            "id": "AzureCloud.westeurope",
            "properties": {
                "changeNumber": 9,
                "region": "westeurope",
                "platform": "Azure",
                "systemService": "",
                "addressPrefixes": ["192.0.2.0/25", "2001:db8:1::/48"],
            },
        },
    ],
}
ORACLE = {
    "last_updated_timestamp": "2026-06-01T00:00:00.000000",
    "regions": [
        {
            "region": "us-phoenix-1",
            "cidrs": [{"cidr": "192.0.2.0/26", "tags": ["OCI"]}, {"cidr": "192.0.2.64/26", "tags": ["OSN"]}],
        },
        {"region": "eu-zurich-1", "cidrs": [{"cidr": "2001:db8:1::/48", "tags": ["OCI"]}]},
    ],
}


def at(address: str, *files: Path) -> Belonging | None:
    return together(map(read_networks, files)).at(parsed(address)[0])


def written(path: Path, content: str, name: str = "networks") -> Path:
    file = path / name
    file.write_text(content)
    return file


def mistakes(file: Path) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        read_networks(file)
    return [one.removeprefix(f"{file}: ") for one in caught.value.mistakes]


# --- providers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("published", "four", "six"),
    [
        (AWS, "aws us-east-1", "aws eu-central-1"),
        (GOOGLE, "google europe-west1", "google asia-east1"),
        (AZURE, "azure westeurope", "azure westeurope"),
        (ORACLE, "oracle us-phoenix-1", "oracle eu-zurich-1"),
    ],
    ids=["aws", "google", "azure", "oracle"],
)
def test_a_providers_list_tells_region_and_that_egress_costs(
    tmp_path: Path, published: dict[str, Any], four: str, six: str
) -> None:
    file = written(tmp_path, json.dumps(published, indent=2))
    inside, six_inside = at("192.0.2.77", file), at("2001:db8:1::7", file)
    assert inside
    assert six_inside
    assert (inside.region, six_inside.region) == (four, six)
    assert inside.metered
    assert at("192.0.2.200", file) is None  # of no region, so no machine that can be rented
    assert at("198.51.100.1", file) is None


def test_several_providers_lists_are_one(tmp_path: Path) -> None:
    other = {"prefixes": [{"ipv4Prefix": "198.51.100.0/24", "scope": "europe-west1"}]}
    files = [written(tmp_path, json.dumps(one), str(n)) for n, one in enumerate((AWS, other))]
    found = [
        belonging and belonging.region for belonging in (at("192.0.2.1", *files), at("198.51.100.1", *files))
    ]
    assert found == ["aws us-east-1", "google europe-west1"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{}", "no list of networks by AWS, Google, Azure or Oracle"),
        ('{"prefixes": []}', "no list of networks by"),
        ('{"prefixes": {"ip_prefix": "192.0.2.0/24"}, "values": 7, "regions": [1, {"cidrs": 2}]}', "no list"),
        ("[]", "no list of networks by"),
        ('{"prefixes": [', "line 1: no JSON"),
        ("[" * 100_000, "no JSON that can be read"),
        ('{"prefixes": [{"ip_prefix": "192.0.2.0/33", "region": "x"}]}', "prefixes[0]: '192.0.2.0/33' does"),
        (
            '{"prefixes": [{"ip_prefix": "192.0.2.0/24", "region": "<script>"}]}',
            "prefixes[0]: 'aws <script>'",
        ),
        ('{"values": [{"properties": {"region": "x", "addressPrefixes": [7]}}]}', "values[0]: '7' does not"),
        ('{"regions": [{"region": "x", "cidrs": [{}]}]}', "regions[0]: '' does not appear"),
        ("", "it names no network"),
        ("# nothing\n", "it names no network"),
        ("<html><body>Not found</body></html>", "line 1: '<html><body>Not' does not appear"),
    ],
)
def test_a_file_that_is_no_list_is_told_with_the_reason(tmp_path: Path, content: str, problem: str) -> None:
    assert mistakes(written(tmp_path, content))[0].startswith(problem)


@pytest.mark.parametrize("content", [b"\xff\xfe{}", b"\x1f\x8b\x08\x00\xff", b"\x00" * 1000])
def test_a_file_that_is_no_text_is_told(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "list"
    file.write_bytes(content)
    assert mistakes(file)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "prefixes",
                    "ipv6_prefixes",
                    "ip_prefix",
                    "ipv4Prefix",
                    "region",
                    "scope",
                    "values",
                    "properties",
                    "addressPrefixes",
                    "regions",
                    "cidrs",
                    "cidr",
                ]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(document=json_values)
def test_json_of_any_shape_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, document: Any
) -> None:
    file = written(tmp_path_factory.getbasetemp(), json.dumps(document))
    with suppress(SettingsError):
        assert read_networks(file)


# --- plain lists ------------------------------------------------------------------------------------


def test_a_plain_list_is_a_region_that_is_named_after_the_file(tmp_path: Path) -> None:
    text = "# our own cloud\n192.0.2.0/25\n192.0.2.130\n\n2001:db8::/32 garr-palermo zone 2\n"
    file = written(tmp_path, text, "garr.txt")
    assert at("192.0.2.130", file) == Belonging("garr")
    assert at("2001:db8::1", file) == Belonging("garr-palermo zone 2")
    assert at("192.0.2.131", file) is None


def test_every_mistake_of_a_plain_list_is_told_by_line(tmp_path: Path) -> None:
    found = mistakes(written(tmp_path, "192.0.2.0/24\n\n# x\nnorth\n192.0.2.0/33 x\n198.51.100.0/24 <x>\n"))
    assert [one.partition(":")[0] for one in found] == ["line 4", "line 5", "line 6"]


# --- declared networks ------------------------------------------------------------------------------

DECLARED = """\
# what leaves the campus by its own uplink is paid for
network,name,cost
192.0.2.0/24,campus,metered
192.0.2.0/26,LHCONE,free
192.0.2.64/26,LHCONE,free
192.0.2.64/26,uplink,metered
2001:db8::/32,LHCONE,Free
"""


@pytest.mark.parametrize(
    ("address", "networks", "costs"),
    [
        ("192.0.2.1", {"campus", "LHCONE"}, False),
        ("192.0.2.65", {"campus", "LHCONE", "uplink"}, True),
        ("192.0.2.200", {"campus"}, True),
        ("2001:db8::1", {"LHCONE"}, False),
    ],
)
def test_an_address_is_in_every_network_around_it_and_costs_what_the_smallest_says(
    tmp_path: Path, address: str, networks: set[str], costs: bool
) -> None:
    found = at(address, written(tmp_path, DECLARED))
    assert found
    assert set(found.networks) == networks
    assert found.metered is costs


@pytest.mark.parametrize("network", ["192.0.0.0/16", "192.0.2.0/25", "192.0.2.0/26"])
def test_the_operators_word_on_cost_stands_above_the_providers_list(tmp_path: Path, network: str) -> None:
    own = written(tmp_path, f"network,name,cost\n{network},waiver,free\n", "own")
    found = at("192.0.2.1", written(tmp_path, json.dumps(AWS), "aws"), own)
    assert found == Belonging("aws us-east-1", frozenset({"waiver"}), Cost.FREE, sold=True)
    assert not found.metered


def test_every_mistake_of_a_table_is_told_by_line_and_column(tmp_path: Path) -> None:
    found = mistakes(
        written(
            tmp_path,
            "network,name,cost\n192.0.2.0/24,LHCONE,free\n\n"
            "192.0.2.0/33,a b,cheap\n192.0.2.0/24,x\n,x,free\n",
        )
    )
    assert [":".join(one.split(":")[:2]) for one in found] == [
        "line 4: name",
        "line 4: cost",
        "line 4: network",
        "line 5: cost",
        "line 6: network",
    ]
    assert "line 4: cost: 'cheap' is none of free, metered" in found


def test_another_header_is_told(tmp_path: Path) -> None:
    found = mistakes(written(tmp_path, "network,nome,cost\n192.0.2.0/24,LHCONE,free\n"))
    assert found == [
        "the header line: 'nome' is no column; columns are network, name, cost",
        "the header line: lacks name",
    ]


def test_a_table_with_names_of_more_networks_than_can_be_told_apart_is_refused(tmp_path: Path) -> None:
    def table(names: int) -> Path:
        rows = (f"10.0.{n}.0/24,net{n % names},free\n" for n in range(200))
        return written(tmp_path, "network,name,cost\n" + "".join(rows))

    assert len(read_networks(table(63))) == 200
    assert mistakes(table(64)) == ["it has 64 names of networks; at most 63 can be told apart"]


# --- which path costs money -------------------------------------------------------------------------

EAST = Owner(region="aws us-east-1", metered=True)
WEST = Owner(region="aws us-west-2", metered=True)
MEMBER = Owner(networks=frozenset({"LHCONE", "GEANT"}))
PAYING_MEMBER = Owner(networks=frozenset({"LHCONE", "uplink"}), metered=True)
OTHER_MEMBER = Owner(networks=frozenset({"ESnet"}))


@pytest.mark.parametrize(
    ("requester", "squid", "costs"),
    [
        (EAST, EAST, False),
        (WEST, EAST, True),
        (UNKNOWN_OWNER, EAST, True),
        (EAST, UNKNOWN_OWNER, False),
        (EAST, MEMBER, False),
        (MEMBER, PAYING_MEMBER, False),
        (OTHER_MEMBER, PAYING_MEMBER, True),
        (UNKNOWN_OWNER, PAYING_MEMBER, True),
        (UNKNOWN_OWNER, Owner(metered=True), True),
        (Owner(metered=True), Owner(metered=True), True),
        (UNKNOWN_OWNER, UNKNOWN_OWNER, False),
    ],
)
def test_a_path_costs_when_it_leaves_a_metered_network(requester: Owner, squid: Owner, costs: bool) -> None:
    assert metered(requester, squid) is costs


def test_an_unknown_region_is_no_region_and_no_network_is_shared_by_those_in_none() -> None:
    assert not Owner().same_region(Owner())
    assert not Owner().shares_network(Owner())
    assert EAST.same_region(Owner(region="aws us-east-1"))


def test_an_owner_is_completed_by_what_another_source_knows() -> None:
    one = Owner(16, domain="uvic.ca", networks=frozenset({"LHCONE"}))
    other = Owner(17, "BCnet", "bc.net", "aws us-east-1", frozenset({"CANARIE"}), metered=True)
    assert one.completed(other) == Owner(
        16, "BCnet", "uvic.ca", "aws us-east-1", frozenset({"LHCONE", "CANARIE"}), True
    )
    assert Owner().completed(other) == other.completed(Owner()) == other
