"""Where an address is: databases of either schema, the operator's table above them, and broken files."""

import json
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any

import geoip2.database
import maxminddb
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from shoal_common.errors import SettingsError
from shoal_server.geoip import GeoIP
from shoal_server.squid import Owner, Place

Address = IPv4Address | IPv6Address
Records = Mapping[str, Mapping[str, Any]]
MAXMIND: Records = {
    "192.0.2.0/24": {
        "city": {"geoname_id": 1, "names": {"en": "Geneva", "de": "Genf"}},
        "continent": {"code": "EU", "names": {"en": "Europe"}},
        "country": {"iso_code": "CH", "names": {"en": "Switzerland"}},
        "location": {
            "latitude": 46.25,
            "longitude": 6.125,
            "accuracy_radius": 20,
            "time_zone": "Europe/Zurich",
        },
        "subdivisions": [{"iso_code": "GE", "names": {"en": "Geneva"}}],
    },
    "2001:db8::/32": {"location": {"latitude": -35.5, "longitude": 149.0}},
    "198.51.100.0/24": {"country": {"iso_code": "CA", "names": {"en": "Canada"}}},
}
DBIP: Records = {
    "192.0.2.0/24": {
        "city": "Genève",
        "country_code": "CH",
        "latitude": 46.25,
        "longitude": 6.125,
        "state1": "Geneva",
        "timezone": "",
    },
    "203.0.113.0/24": {"city": "Nowhere", "country_code": "XX", "latitude": "", "longitude": ""},
}
AT = {"location": {"latitude": 1.5, "longitude": 2.5}}
TABLE = """\
# where our squids are
network,site,latitude,longitude,city,country_code

10.0.0.0/8,big,1.5,2.5
10.1.0.0/16,middle,3.5,4.5,Victoria,CA
10.1.2.3,small,5.5,6.5
192.0.2.128/25,ours,7.5,8.5
2001:db8:1::/48,six,9.5,10.5
"""


def write(path: Path, records: Records, kind: str = "GeoLite2-City", version: int = 6) -> Path:
    writer = MMDBWriter(
        ip_version=version, ipv4_compatible=version == 6, database_type=kind, float_type="f64"
    )
    for network, record in records.items():
        if version == 6 or ":" not in network:
            writer.insert_network(IPSet([network]), dict(record))
    writer.to_db_file(str(path))
    return path


Open = Callable[..., GeoIP]


@pytest.fixture
def opened(tmp_path: Path) -> Open:
    """Opens a table's text and databases."""

    def open_(*databases: Path, table: str | None = None) -> GeoIP:
        path = tmp_path / "locations.csv" if table is not None else None
        if path:
            path.write_text(table or "", encoding="utf-8")
        return GeoIP(path, databases)

    return open_


def mistakes(table: Path | None, *databases: Path) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        GeoIP(table, databases)
    return caught.value.mistakes


# --- databases --------------------------------------------------------------------------------------


def test_a_city_of_maxminds_schema_is_read(opened: Open, tmp_path: Path) -> None:
    assert opened(write(tmp_path / "a.mmdb", MAXMIND)).locate("192.0.2.7") == Place(
        46.25,
        6.125,
        city="Geneva",
        country_code="CH",
        country_name="Switzerland",
        continent="EU",
    )


def test_a_city_of_dbips_flat_schema_is_read(opened: Open, tmp_path: Path) -> None:
    base = write(tmp_path / "a.mmdb", DBIP, "city ipv4 database", version=4)
    assert opened(base).locate("192.0.2.7") == Place(46.25, 6.125, city="Genève", country_code="CH")


def test_an_ipv6_address_is_found(opened: Open, tmp_path: Path) -> None:
    assert opened(write(tmp_path / "a.mmdb", MAXMIND)).locate("2001:db8::7") == Place(-35.5, 149.0)


def test_a_mapped_address_is_where_its_ipv4_address_is(opened: Open, tmp_path: Path) -> None:
    geoip = opened(write(tmp_path / "a.mmdb", MAXMIND, version=4))
    assert geoip.locate("::ffff:192.0.2.7") == geoip.locate("192.0.2.7")
    assert geoip.locate("192.0.2.7")


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "10.0.0.1", "127.0.0.1", "198.51.100.1", "::1", "fe80::1%eth0"]
)
def test_an_address_without_coordinates_is_unknown(opened: Open, tmp_path: Path, address: str) -> None:
    assert opened(write(tmp_path / "a.mmdb", MAXMIND)).locate(address) is None


def test_an_ipv6_address_in_a_database_of_ipv4_alone_is_unknown(opened: Open, tmp_path: Path) -> None:
    assert opened(write(tmp_path / "a.mmdb", MAXMIND, version=4)).locate("2001:db8::7") is None


@pytest.mark.parametrize(
    "record",
    [
        {"latitude": "", "longitude": ""},
        {"latitude": 1.5},
        {"latitude": "north", "longitude": "west"},
        {"location": "Geneva"},
        {"location": {"latitude": "46", "longitude": "6"}},
        {"location": {"latitude": 4600.5, "longitude": 6.5}},
        {"location": {"latitude": 46.5}},
        {"city": "flat", "location": {"latitude": 46.5, "longitude": 6.5}},
        {"city": {"names": {"en": ["Geneva"]}}, "location": {"latitude": 46.5, "longitude": 6.5}},
        {"city": {"names": {"en": 7}}, "location": {"latitude": 46.5, "longitude": 6.5}},
        {},
    ],
)
def test_a_record_of_an_unknown_shape_says_nothing(
    opened: Open, tmp_path: Path, record: Mapping[str, Any]
) -> None:
    geoip = opened(write(tmp_path / "a.mmdb", {"198.51.100.0/24": AT, "192.0.2.0/24": record}))
    assert geoip.locate("192.0.2.7") is None
    assert geoip.locate("198.51.100.1")


def test_the_first_database_that_knows_an_address_counts(opened: Open, tmp_path: Path) -> None:
    first = write(tmp_path / "a.mmdb", {"192.0.2.0/25": MAXMIND["192.0.2.0/24"]})
    other = {"location": {"latitude": 1.5, "longitude": 2.5}}
    geoip = opened(first, write(tmp_path / "b.mmdb", {"192.0.2.0/24": other}))
    near, far = geoip.locate("192.0.2.7"), geoip.locate("192.0.2.200")
    assert near
    assert far
    assert (near.latitude, far.latitude) == (46.25, 1.5)


def test_without_table_and_databases_every_place_is_unknown(opened: Open) -> None:
    assert opened().locate("192.0.2.7") is None


# --- broken databases -------------------------------------------------------------------------------


def test_a_missing_database_is_named() -> None:
    assert mistakes(None, Path("/nowhere/a.mmdb")) == ("/nowhere/a.mmdb: No such file or directory",)


@pytest.mark.parametrize("content", [b"", b"no database", b"\x00" * 100_000])
def test_a_file_that_is_no_database_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mmdb"
    path.write_bytes(content)
    (mistake,) = mistakes(None, path)
    assert mistake.startswith(f"{path}: ")


def test_a_directory_is_named(tmp_path: Path) -> None:
    (mistake,) = mistakes(None, tmp_path)
    assert mistake.startswith(f"{tmp_path}: ")


def test_a_database_that_was_cut_off_harms_no_lookup(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.mmdb", MAXMIND).read_bytes()
    meta = whole.rindex(b"\xab\xcd\xefMaxMind.com")
    path = tmp_path / "cut.mmdb"
    path.write_bytes(whole[: meta - 200] + b"\xff" * 60 + whole[meta:])
    try:
        geoip = GeoIP(None, [path])
    except SettingsError as error:
        assert str(path) in str(error)  # noqa: PT017 - either is right: refused at the start, or no harm later
        return
    for last in range(256):
        geoip.locate(f"192.0.2.{last}")


@pytest.mark.parametrize("kind", ["GeoIP2-Anonymous-IP", "GeoLite2-Country"])
def test_a_database_of_another_kind_is_named_with_its_kind(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / "a.mmdb", MAXMIND, kind)
    assert mistakes(None, path) == (
        f"{path}: a database of type {kind}; a City, ASN, ISP or Domain database is needed",
    )


@pytest.mark.parametrize("kind", ["GeoLite2-City", "city ipv4 database", "GeoLite2-ASN"])
def test_a_database_that_calls_itself_what_it_is_not_is_refused(tmp_path: Path, kind: str) -> None:
    country = {"192.0.2.0/24": {"country": {"iso_code": "CH"}, "country_code": "CH"}}
    path = write(tmp_path / "a.mmdb", country, kind)
    assert mistakes(None, path) == (f"{path}: a {kind} of which no record can be used",)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_database_that_was_not_copied_to_its_end_is_refused(tmp_path: Path, share: float) -> None:
    whole = write(tmp_path / "a.mmdb", MAXMIND).read_bytes()
    path = tmp_path / "cut.mmdb"
    path.write_bytes(whole[: int(len(whole) * share)])
    (mistake,) = mistakes(None, path)
    assert mistake.startswith(f"{path}: ")


def test_the_mistakes_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    table = tmp_path / "locations.csv"
    table.write_text("network,site\n")
    bases = [tmp_path / "a.mmdb", write(tmp_path / "good.mmdb", MAXMIND), tmp_path / "b.mmdb"]
    with pytest.raises(SettingsError) as caught:
        GeoIP(table, bases, None, [tmp_path / "n.json"])
    found = [Path(one.partition(":")[0]).name for one in caught.value.mistakes]
    assert found == ["a.mmdb", "b.mmdb", "locations.csv", "n.json"]


# --- the operator's table above the databases ---------------------------------------------------------


def test_the_table_stands_above_the_databases(opened: Open, tmp_path: Path) -> None:
    geoip = opened(write(tmp_path / "a.mmdb", MAXMIND), table=TABLE)
    ours, theirs = geoip.locate("192.0.2.200"), geoip.locate("192.0.2.7")
    assert ours
    assert theirs
    assert (ours.site, theirs.site) == ("ours", None)


def test_only_the_table_places_an_address_by_the_operators_word(opened: Open, tmp_path: Path) -> None:
    geoip = opened(write(tmp_path / "a.mmdb", MAXMIND), table=TABLE)
    asked = ("10.0.0.1", "::ffff:10.0.0.1", "192.0.2.7", "no address")
    assert [geoip.placed(one) for one in asked] == [True, True, False, False]


def test_an_address_outside_the_table_is_unknown(opened: Open) -> None:
    assert opened(table=TABLE).locate("192.168.0.1") is None


NAMES = """\
network,site,latitude,longitude,region,networks
*.example.org,example,1,2,,
squid7.example.org,seven,3,4,aws us-east-1,LHCONE
192.0.2.0/24,addressed,5,6,,
"""


class Dns:
    """Reverse DNS that has its answers by now."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names

    def name(self, address: str) -> str | None:
        return self.names.get(address)

    def of(self, address: str) -> str | None:
        name = self.names.get(address)
        return ".".join(name.split(".")[-2:]) if name else None


@pytest.mark.parametrize(
    ("address", "host", "site"),
    [
        ("203.0.113.1", "squid7.example.org", "seven"),
        ("203.0.113.1", "SQUID7.Example.ORG.", "seven"),
        ("203.0.113.1", "squid8.rack.example.org", "example"),
        ("203.0.113.1", "example.org", None),
        ("203.0.113.1", "squid7.example.org.evil.com", None),
        ("203.0.113.1", "notexample.org", None),
        ("203.0.113.1", "", None),
        ("203.0.113.1", None, None),
        ("192.0.2.1", "squid7.example.org", "addressed"),
    ],
)
def test_a_squid_is_placed_by_its_own_name_where_its_address_is_not(
    opened: Open, address: str, host: str | None, site: str | None
) -> None:
    place = opened(table=NAMES).locate(address, host)
    assert (place and place.site) == site


def test_a_requester_is_placed_by_its_name_of_reverse_dns(opened: Open, tmp_path: Path) -> None:
    opened(table=NAMES)
    names = {"203.0.113.1": "vm1.example.org", "203.0.113.2": "elsewhere.example.com"}
    geoip = GeoIP(tmp_path / "locations.csv", [], Dns(names))
    places = [geoip.locate(one) for one in ("203.0.113.1", "203.0.113.2", "203.0.113.3")]
    assert [place and place.site for place in places] == ["example", None, None]


def test_a_line_of_the_table_tells_region_and_networks(opened: Open) -> None:
    owner = opened(table=NAMES).find("203.0.113.1", "squid7.example.org")[1]
    assert owner == Owner(region="aws us-east-1", networks=frozenset({"LHCONE"}))


def test_a_domain_by_reverse_dns_counts_before_a_databases(tmp_path: Path) -> None:
    base = write(tmp_path / "d.mmdb", {"203.0.113.0/24": {"domain": "isp.example"}}, "GeoIP2-Domain")
    geoip = GeoIP(None, [base], Dns({"203.0.113.1": "vm1.example.org"}))
    assert geoip.find("203.0.113.1")[1].domain == "example.org"
    assert geoip.find("203.0.113.2")[1].domain == "isp.example"


# --- networks ---------------------------------------------------------------------------------------

CLOUD = '{"prefixes": [{"ip_prefix": "192.0.2.0/24", "region": "us-east-1", "service": "EC2"}]}'


def test_region_networks_and_cost_are_joined_with_the_rest(tmp_path: Path) -> None:
    cloud, declared, table = (tmp_path / name for name in ("ip-ranges.json", "declared.csv", "table.csv"))
    cloud.write_text(CLOUD)
    declared.write_text("network,name,cost\n192.0.2.0/25,NREN,metered\n")
    table.write_text("network,site,latitude,longitude,networks\n192.0.2.0/26,uvic,1,2,LHCONE\n")
    asn = write(tmp_path / "asn.mmdb", {"192.0.2.0/24": {"autonomous_system_number": 16}}, "GeoLite2-ASN")
    geoip = GeoIP(table, [asn], None, [cloud, declared])
    assert geoip.find("192.0.2.1")[1] == Owner(
        16, region="aws us-east-1", networks=frozenset({"NREN", "LHCONE"}), metered=True
    )
    assert geoip.find("192.0.2.200")[1] == Owner(16, region="aws us-east-1", metered=True)
    assert geoip.find("198.51.100.1")[1] == Owner()


# --- any address ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> GeoIP:
    """Every kind of file, of six and of four."""
    path = tmp_path_factory.mktemp("full")
    (path / "t.csv").write_text(TABLE + "*.example.org,named,1,2\n")
    (path / "n.json").write_text(CLOUD)
    owners: Records = {
        "192.0.0.0/8": {"autonomous_system_number": 16},
        "2001:db8::/32": {"domain": "six.example"},
    }
    bases = [
        write(path / "a.mmdb", MAXMIND),
        write(path / "b.mmdb", DBIP, "city ipv4 database", version=4),
        write(path / "c.mmdb", owners, "GeoLite2-ASN"),
        write(path / "d.mmdb", owners, "GeoIP2-ISP-Domain", version=4),
    ]
    return GeoIP(path / "t.csv", bases, Dns({}), [path / "n.json"])


@given(st.ip_addresses(), st.none() | st.text())
def test_no_address_and_no_name_does_harm(full: GeoIP, address: Address, host: str | None) -> None:
    place, _ = full.find(str(address), host)
    assert place == full.locate(str(address), host)
    assert place is None or (abs(place.latitude) <= 90 and abs(place.longitude) <= 180)


@given(st.text() | st.from_regex(r"[0-9a-f:.%]{0,40}", fullmatch=True))
@example("::ffff:192.0.2.7%eth0")
@example("192.0.2.7%eth0")
@example("192.0.2.07")
@example("\ud800")
@example("::1\0")
def test_what_is_no_address_is_nowhere(full: GeoIP, text: str) -> None:
    place, owner = full.find(text)
    try:
        ip_address(text)
    except ValueError:
        assert "%" in text or (place, owner) == (None, Owner())
    assert not full.placed("x" + text)


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_its_ipv4_address(full: GeoIP, address: Address) -> None:
    assert full.find(f"::ffff:{address}") == full.find(str(address))


def test_a_6to4_address_is_where_its_relay_is_but_not_by_the_tables_word(
    opened: Open, tmp_path: Path
) -> None:
    """192.0.2.7 and 10.1.2.3 are 2002:c000:207:: and 2002:a01:203:: (RFC 3056)."""
    geoip = opened(write(tmp_path / "a.mmdb", MAXMIND, version=4), table=TABLE)
    assert geoip.locate("2002:c000:207::1") == geoip.locate("192.0.2.7")
    assert geoip.locate("2002:a01:203::1") is None


def test_equal_places_and_owners_are_one_object(opened: Open, tmp_path: Path) -> None:
    spread = {f"198.18.{number}.0/24": MAXMIND["192.0.2.0/24"] for number in range(4)}
    owners = {f"198.18.{number}.0/24": {"autonomous_system_number": 1016} for number in range(4)}
    geoip = opened(write(tmp_path / "a.mmdb", spread), write(tmp_path / "b.mmdb", owners, "GeoLite2-ASN"))
    found = [geoip.find(f"198.18.{number}.9") for number in range(4)]
    assert found[0][0]
    assert found[0][1].asn == 1016
    assert len({id(place) for place, _ in found}) == len({id(owner) for _, owner in found}) == 1


def test_what_is_remembered_of_a_network_is_not_said_of_a_part_that_differs(
    opened: Open, tmp_path: Path
) -> None:
    records = {"198.18.0.0/25": AT, "198.18.0.128/26": MAXMIND["192.0.2.0/24"], "2001:db8:0:1::/64": AT}
    geoip = opened(write(tmp_path / "a.mmdb", records))
    latitudes = [
        place and place.latitude
        for place in map(geoip.locate, ("198.18.0.1", "198.18.0.129", "198.18.0.200", "198.18.0.2"))
    ]
    assert latitudes == [1.5, 46.25, None, 1.5]
    assert [bool(geoip.locate(f"2001:db8:0:{net}::1")) for net in (0, 1, 2, 1)] == [False, True, False, True]


def test_what_is_remembered_of_a_large_network_is_not_said_of_a_hole_in_it(
    opened: Open, tmp_path: Path
) -> None:
    records = {"198.18.0.0/16": AT, "198.19.0.0/17": AT, "2001:db8::/32": AT, "2001:db9::/33": AT}
    geoip = opened(write(tmp_path / "a.mmdb", records))
    asked = ("198.18.0.1", "198.18.200.1", "198.19.0.1", "198.19.200.1", "198.20.0.1", "198.19.1.1")
    assert [bool(geoip.locate(one)) for one in asked] == [True, True, True, False, False, True]
    six = ("2001:db8::1", "2001:db8:8000::1", "2001:db9::1", "2001:db9:8000::1", "2001:db8:1::1")
    assert [bool(geoip.locate(one)) for one in six] == [True, True, True, False, True]


def test_a_lookup_reads_the_same_as_geoip2(opened: Open, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mmdb", MAXMIND)
    place = opened(path).locate("192.0.2.7")
    with geoip2.database.Reader(path) as reader:
        city = reader.city("192.0.2.7")
    assert place == Place(
        city.location.latitude or 0.0,
        city.location.longitude or 0.0,
        None,
        city.city.name,
        city.country.iso_code,
        city.country.name,
        city.continent.code,
    )


# --- owners -----------------------------------------------------------------------------------------


def test_the_owner_is_joined_from_databases_of_several_kinds(opened: Open, tmp_path: Path) -> None:
    asn = write(tmp_path / "asn.mmdb", {"192.0.2.0/24": {"autonomous_system_number": 16}}, "GeoLite2-ASN")
    isp = write(
        tmp_path / "isp.mmdb", {"192.0.2.0/24": {"isp": "BCnet", "organization": "UVic"}}, "GeoIP2-ISP"
    )
    domain = write(tmp_path / "domain.mmdb", {"192.0.2.0/24": {"domain": "uvic.ca"}}, "GeoIP2-Domain")
    owner = opened(asn, isp, domain).find("192.0.2.1")[1]
    assert owner == Owner(16, "BCnet", "uvic.ca")


def test_nothing_is_said_of_the_owner_of_an_unknown_address(opened: Open, tmp_path: Path) -> None:
    asn = write(tmp_path / "asn.mmdb", {"192.0.2.0/24": {"autonomous_system_number": 16}}, "GeoLite2-ASN")
    assert opened(asn).find("198.51.100.1")[1] == Owner()


def test_unknown_owners_are_not_the_same() -> None:
    assert not Owner().same_as(Owner())
    assert not Owner(asn=0).same_as(Owner(asn=0))
    assert Owner(asn=16).same_as(Owner(asn=16, domain="uvic.ca"))


# --- files that are replaced ------------------------------------------------------------------------

ONE_SITE = "network,site,latitude,longitude\n192.0.2.0/24,{site},48.5,-123.3\n"


def test_a_table_that_was_edited_is_read_again(opened: Open, tmp_path: Path) -> None:
    geoip = opened(table=ONE_SITE.format(site="before"))
    (tmp_path / "locations.csv").write_text(ONE_SITE.format(site="afterwards"))
    geoip.follow()
    place = geoip.locate("192.0.2.1")
    assert (place and place.site, geoip.generation) == ("afterwards", 1)


def test_a_broken_table_is_refused_and_the_old_one_stays(
    opened: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    geoip = opened(table=ONE_SITE.format(site="before"))
    (tmp_path / "locations.csv").write_text(ONE_SITE.format(site="x").replace("48.5", "148.5"))
    geoip.follow()
    place = geoip.locate("192.0.2.1")
    assert (place and place.site, geoip.generation) == ("before", 0)
    assert f"{tmp_path / 'locations.csv'}: line 2: latitude" in caplog.text


def test_a_database_that_was_replaced_is_read_again(opened: Open, tmp_path: Path) -> None:
    path = write(tmp_path / "asn.mmdb", {"192.0.2.0/24": {"autonomous_system_number": 1}}, "GeoLite2-ASN")
    geoip = opened(path)
    write(tmp_path / "new", {"192.0.2.0/24": {"autonomous_system_number": 2}}, "GeoLite2-ASN").replace(path)
    geoip.follow()
    assert geoip.find("192.0.2.1")[1].asn == 2


def test_a_database_that_vanished_stays_in_use(opened: Open, tmp_path: Path) -> None:
    path = write(tmp_path / "asn.mmdb", {"192.0.2.0/24": {"autonomous_system_number": 1}}, "GeoLite2-ASN")
    geoip = opened(path)
    path.unlink()
    geoip.follow()
    assert geoip.find("192.0.2.1")[1].asn == 1


def broken_country(path: Path) -> None:
    write(path.with_suffix(".new"), MAXMIND, "GeoLite2-Country").replace(path)


def replaced_by(content: bytes) -> Callable[[Path], None]:
    def act(path: Path) -> None:
        other = path.with_suffix(".new")
        other.write_bytes(content)
        other.replace(path)

    return act


def cut_off(path: Path) -> None:
    replaced_by(path.read_bytes()[: path.stat().st_size // 2])(path)


BREAKS = {
    "cut off": cut_off,
    "garbage": replaced_by(b"\x00\xff" * 5000),
    "empty": replaced_by(b""),
    "gone": Path.unlink,
    "another kind": broken_country,
}


@pytest.mark.parametrize("harm", BREAKS.values(), ids=BREAKS)
@pytest.mark.parametrize("broken", ["city.mmdb", "asn.mmdb", "table.csv", "networks.json"])
def test_of_several_files_the_broken_one_stays_as_it_was_and_the_others_are_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: str, harm: Callable[[Path], None]
) -> None:
    names = ("city.mmdb", "asn.mmdb", "table.csv", "networks.json")
    city, asn, table, networks = paths = [tmp_path / name for name in names]

    def make(number: int) -> None:
        """All four files, in this edition."""
        new = tmp_path / "new"
        location = {"location": {"latitude": float(number), "longitude": 1.5}}
        write(new, {"198.18.0.0/16": location}).replace(city)
        write(new, {"198.18.0.0/16": {"autonomous_system_number": number}}, "GeoLite2-ASN").replace(asn)
        new.write_text(f"network,site,latitude,longitude\n10.0.0.0/8,{number},1,2\n")
        new.replace(table)
        new.write_text(json.dumps({"prefixes": [{"ip_prefix": "198.18.0.0/16", "region": f"r{number}"}]}))
        new.replace(networks)

    def edition() -> Mapping[str, str]:
        outside, owner = geoip.find("198.18.0.1")
        inside = geoip.locate("10.0.0.1")
        assert outside
        assert inside
        said = (int(outside.latitude), owner.asn, inside.site, (owner.region or "").removeprefix("aws r"))
        return dict(zip(names, map(str, said), strict=True))

    make(1)
    geoip = GeoIP(table, [city, asn], None, [networks])
    make(2)
    harm(tmp_path / broken)
    geoip.follow()
    assert edition() == {name: "1" if name == broken else "2" for name in names}
    assert geoip.generation == 1
    assert f"{tmp_path / broken}: " in caplog.text
    assert "what was read before stays in use" in caplog.text
    make(3)
    geoip.follow()
    assert set(edition().values()) == {"3"}
    assert all(path.exists() for path in paths)


OWNERS: Records = {"192.0.2.0/24": {"autonomous_system_number": 16, "isp": "BCnet", "domain": "uvic.ca"}}


@pytest.mark.parametrize(
    ("first", "then", "was", "is_"),
    [
        ("GeoLite2-City", "GeoLite2-ASN", "City", "ASN"),
        ("city ipv4 database", "GeoIP2-ISP", "City", "ISP"),
        ("GeoLite2-ASN", "GeoLite2-City", "ASN", "City"),
        ("GeoLite2-ASN", "GeoIP2-Domain", "ASN", "Domain"),
    ],
)
def test_a_database_that_is_replaced_by_one_of_another_kind_stays_in_use(
    opened: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture, first: str, then: str, was: str, is_: str
) -> None:
    def put(kind: str) -> Path:
        records = MAXMIND if "city" in kind.lower() else OWNERS
        return write(tmp_path / "new", records, kind).replace(tmp_path / "a.mmdb")

    path = put(first)
    geoip = opened(path)
    before = geoip.find("192.0.2.7")
    put(then)
    for _ in range(2):
        geoip.follow()
    assert geoip.find("192.0.2.7") == before != (None, Owner())
    assert geoip.generation == 0
    (record,) = caplog.records
    said = f"{path}: it was a database of kind {was}, and is one of kind {is_} ({then})"
    assert (record.levelname, record.getMessage()) == (
        "WARNING",
        f"{said}; what was read before stays in use",
    )
    assert opened(path).built  # at a start any kind will do
    put(first)
    geoip.follow()
    assert geoip.generation == 1


def test_a_city_database_of_one_schema_may_take_the_place_of_one_of_the_other(
    opened: Open, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.mmdb", DBIP, "city ipv4 database", version=4)
    geoip = opened(path)
    for kind in ("GeoLite2-City", "GeoIP2-Enterprise", "DBIP-City-Lite"):
        write(tmp_path / "new", {"192.0.2.0/24": AT}, kind).replace(path)
        before = geoip.generation
        geoip.follow()
        assert (geoip.locate("192.0.2.7"), geoip.generation) == (Place(1.5, 2.5), before + 1)


# --- what is in use ---------------------------------------------------------------------------------


def test_the_databases_in_use_are_attributed_and_dated(opened: Open, tmp_path: Path) -> None:
    dbip = write(tmp_path / "dbip-city-lite.mmdb", DBIP, "city ipv4 database")
    geolite = write(tmp_path / "a.mmdb", MAXMIND, "GeoLite2-City")
    own = write(tmp_path / "own.mmdb", MAXMIND, "Our-City")
    geoip = opened(own, dbip, geolite, geolite)
    assert [text.partition(",")[0] for text in geoip.attributions] == [
        "IP Geolocation by DB-IP",
        "This product includes GeoLite2 data created by MaxMind",
    ]
    epochs = [maxminddb_epoch(path) for path in (own, dbip, geolite)]
    assert geoip.built == min(epochs)


@pytest.mark.parametrize(
    ("kind", "name", "maker"),
    [
        ("DBIP-ASN-Lite (compat=GeoLite2-ASN)", "asn.mmdb", "DB-IP"),
        ("DBIP-ASN-Lite (compat=GeoLite2-ASN)", "GeoLite2-ASN.mmdb", "DB-IP"),
        ("GeoLite2-ASN", "dbip-asn-lite.mmdb", "MaxMind"),
        ("Our-ASN", "dbip-asn-lite.mmdb", "DB-IP"),
        ("Our-ASN (compat=GeoLite2-ASN)", "asn.mmdb", None),
    ],
)
def test_a_database_is_attributed_to_its_maker_and_not_to_whom_it_is_compatible_with(
    opened: Open, tmp_path: Path, kind: str, name: str, maker: str | None
) -> None:
    base = write(tmp_path / name, {"192.0.2.0/24": {"autonomous_system_number": 16}}, kind)
    found = [one for text in opened(base).attributions for one in ("DB-IP", "MaxMind") if one in text]
    assert found == ([maker] if maker else [])


def maxminddb_epoch(path: Path) -> int:
    with maxminddb.open_database(path) as reader:
        return reader.metadata().build_epoch


def test_without_databases_there_is_nothing_to_attribute(opened: Open) -> None:
    geoip = opened(table=TABLE)
    assert (geoip.attributions, geoip.built) == ((), None)
