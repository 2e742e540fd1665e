"""Where an address is: databases of either schema, the operator's table above them, and broken files."""

from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from shoal_common.errors import SettingsError
from shoal_server.geoip import GeoIP
from shoal_server.locations import LocationTable
from shoal_server.squid import Owner, Place

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
    ],
)
def test_a_record_of_an_unknown_shape_says_nothing(
    opened: Open, tmp_path: Path, record: Mapping[str, Any]
) -> None:
    geoip = opened(write(tmp_path / "a.mmdb", {"192.0.2.0/24": record}))
    assert geoip.locate("192.0.2.7") is None


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


def test_the_mistakes_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    table = tmp_path / "locations.csv"
    table.write_text("network,site\n")
    found = mistakes(table, tmp_path / "a.mmdb", write(tmp_path / "good.mmdb", MAXMIND), tmp_path / "b.mmdb")
    assert [Path(one.partition(":")[0]).name for one in found] == ["a.mmdb", "b.mmdb", "locations.csv"]


# --- the operator's table ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "site"),
    [
        ("10.200.0.1", "big"),
        ("10.1.9.9", "middle"),
        ("10.1.2.3", "small"),
        ("::ffff:10.1.2.3", "small"),
        ("2001:db8:1::9", "six"),
    ],
)
def test_the_longest_prefix_counts(opened: Open, address: str, site: str) -> None:
    place = opened(table=TABLE).locate(address)
    assert place
    assert place.site == site


def test_city_and_country_are_optional(opened: Open) -> None:
    geoip = opened(table=TABLE)
    assert geoip.locate("10.1.9.9") == Place(3.5, 4.5, "middle", "Victoria", "CA")
    assert geoip.locate("10.9.9.9") == Place(1.5, 2.5, "big")


def test_the_table_stands_above_the_databases(opened: Open, tmp_path: Path) -> None:
    geoip = opened(write(tmp_path / "a.mmdb", MAXMIND), table=TABLE)
    ours, theirs = geoip.locate("192.0.2.200"), geoip.locate("192.0.2.7")
    assert ours
    assert theirs
    assert (ours.site, theirs.site) == ("ours", None)


def test_only_the_table_places_an_address_by_the_operators_word(opened: Open, tmp_path: Path) -> None:
    geoip = opened(write(tmp_path / "a.mmdb", MAXMIND), table=TABLE)
    assert [geoip.placed(one) for one in ("10.0.0.1", "::ffff:10.0.0.1", "192.0.2.7")] == [True, True, False]


def test_an_address_outside_the_table_is_unknown(opened: Open) -> None:
    assert opened(table=TABLE).locate("192.168.0.1") is None


def test_a_table_from_a_spreadsheet_is_read(tmp_path: Path) -> None:
    path = tmp_path / "locations.csv"
    path.write_bytes("network, site, latitude, longitude\r\n10.0.0.0/8, Zürich, 1, 2\r\n".encode("utf-8-sig"))
    geoip = GeoIP(path, [])
    assert geoip.locate("10.0.0.1") == Place(1.0, 2.0, "Zürich")


def test_every_mistake_of_a_table_is_told_by_entry(tmp_path: Path) -> None:
    path = tmp_path / "locations.csv"
    path.write_text(
        "network,site,latitude,longitude\n"
        "10.0.0.0/8,good,1,2\n"
        "10.0.0.0/33,site,1,2\n"
        "10.0.0.1/8,site,1,2\n"
        ",site,1,2\n"
        "10.0.0.0/8,,1,2\n"
        "10.0.0.0/8,site,91,2\n"
        "10.0.0.0/8,site,1,-181\n"
        "10.0.0.0/8,site,nan,2\n"
        "10.0.0.0/8,site,north,2\n"
        "10.0.0.0/8,site,1\n"
        "10.0.0.0/8\n"
    )
    found = [mistake.removeprefix(f"{path}: entry ") for mistake in mistakes(path)]
    assert [one.partition(",")[0][:14].rpartition(":")[0] for one in found] == [
        "2: network",
        "3: network",
        "4: network",
        "5: site",
        "6: latitude",
        "7: longitude",
        "8: latitude",
        "9: latitude",
        "10: longitude",
        "11: site",
    ]
    assert "latitude: '91' is not a number from -90 to 90" in found[4]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "the header line lacks network, site, latitude, longitude"),
        (b"net,site,latitude\n", "the header line lacks network, longitude"),
        (b"network,site,latitude,longitude\n\xff\xfe,x,1,2\n", "utf-8"),
    ],
)
def test_a_file_that_is_no_table_is_named(tmp_path: Path, content: bytes, problem: str) -> None:
    path = tmp_path / "locations.csv"
    path.write_bytes(content)
    (mistake,) = mistakes(path)
    assert mistake.startswith(f"{path}: ")
    assert problem in mistake


def test_a_missing_table_is_named() -> None:
    assert mistakes(Path("/nowhere/x.csv")) == ("/nowhere/x.csv: No such file or directory",)


def test_a_table_of_many_prefix_lengths_finds_each() -> None:
    networks = {
        ip_network((int(ip_address("10.255.255.255")), length), strict=False): Place(0.0, 0.0, str(length))
        for length in range(1, 33)
    }
    table = LocationTable(networks)
    inside, elsewhere = (table.locate(ip_address(one)) for one in ("10.255.255.255", "200.1.1.1"))
    assert inside
    assert inside.site == "32"
    assert elsewhere is None


# --- owners -----------------------------------------------------------------------------------------


def test_the_owner_is_joined_from_databases_of_several_kinds(opened: Open, tmp_path: Path) -> None:
    asn = write(tmp_path / "asn.mmdb", {"192.0.2.0/24": {"autonomous_system_number": 16}}, "GeoLite2-ASN")
    isp = write(
        tmp_path / "isp.mmdb", {"192.0.2.0/24": {"isp": "BCnet", "organization": "UVic"}}, "GeoIP2-ISP"
    )
    domain = write(tmp_path / "domain.mmdb", {"192.0.2.0/24": {"domain": "uvic.ca"}}, "GeoIP2-Domain")
    owner = opened(asn, isp, domain).owner("192.0.2.1")
    assert owner == Owner(16, "BCnet", "uvic.ca")


def test_nothing_is_said_of_the_owner_of_an_unknown_address(opened: Open, tmp_path: Path) -> None:
    asn = write(tmp_path / "asn.mmdb", {"192.0.2.0/24": {"autonomous_system_number": 16}}, "GeoLite2-ASN")
    assert opened(asn).owner("198.51.100.1") == Owner()


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
    assert "entry 1: latitude" in caplog.text


def test_a_database_that_was_replaced_is_read_again(opened: Open, tmp_path: Path) -> None:
    path = write(tmp_path / "asn.mmdb", {"192.0.2.0/24": {"autonomous_system_number": 1}}, "GeoLite2-ASN")
    geoip = opened(path)
    write(tmp_path / "new", {"192.0.2.0/24": {"autonomous_system_number": 2}}, "GeoLite2-ASN").replace(path)
    geoip.follow()
    assert geoip.owner("192.0.2.1").asn == 2


def test_a_database_that_vanished_stays_in_use(opened: Open, tmp_path: Path) -> None:
    path = write(tmp_path / "asn.mmdb", {"192.0.2.0/24": {"autonomous_system_number": 1}}, "GeoLite2-ASN")
    geoip = opened(path)
    path.unlink()
    geoip.follow()
    assert geoip.owner("192.0.2.1").asn == 1
