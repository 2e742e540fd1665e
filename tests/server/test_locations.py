"""The operator's location table: what a line says, and every mistake by its line and column."""

import re
import time
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shoal_common.errors import SettingsError
from shoal_server.locations import MORE, NEEDED, Location, LocationTable
from shoal_server.networks import read_networks
from shoal_server.prefixes import parsed
from shoal_server.squid import Place

TABLE = """\
# where our squids are
network,site,latitude,longitude,city,country_code,region,tier,networks

10.0.0.0/8,big,1.5,2.5
10.1.0.0/16,middle,3.5,4.5,Victoria,CA,aws us-east-1,2,LHCONE ESnet
10.1.2.3,small,5.5,6.5
# a comment, with "quotes
2001:db8:1::/48,six,9.5,10.5
*.example.org,named,11.5,12.5
"""


def read(path: Path, text: str) -> LocationTable:
    file = path / "locations.csv"
    file.write_text(text, encoding="utf-8")
    return LocationTable.read(file)


def at(table: LocationTable, address: str) -> Location | None:
    return table.at(parsed(address)[0])


def mistakes(path: Path, content: str | bytes) -> list[str]:
    """Without the file's name."""
    file = path / "locations.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(SettingsError) as caught:
        LocationTable.read(file)
    assert all(one.startswith(f"{file}: ") for one in caught.value.mistakes)
    return [one.removeprefix(f"{file}: ") for one in caught.value.mistakes]


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
def test_the_longest_prefix_counts(tmp_path: Path, address: str, site: str) -> None:
    location = at(read(tmp_path, TABLE), address)
    assert location
    assert location.place.site == site


def test_all_columns_but_the_first_four_are_optional(tmp_path: Path) -> None:
    table = read(tmp_path, TABLE)
    assert at(table, "10.9.9.9") == Location(Place(1.5, 2.5, "big"))
    assert at(table, "10.1.9.9") == Location(
        Place(3.5, 4.5, "middle", "Victoria", "CA", tier=2), "aws us-east-1", frozenset({"LHCONE", "ESnet"})
    )


def test_columns_may_stand_in_any_order(tmp_path: Path) -> None:
    table = read(tmp_path, "tier,Longitude, latitude,site,network\n3,2,1,here,10.0.0.0/8\n")
    assert at(table, "10.0.0.1") == Location(Place(1.0, 2.0, "here", tier=3))


def test_a_table_from_a_spreadsheet_is_read(tmp_path: Path) -> None:
    text = 'network, site, latitude, longitude\r\n10.0.0.0/8, "Zürich, Höngg", 1, 2\r\n,,,\r\n'
    location = at(read(tmp_path, "\ufeff" + text), "10.0.0.1")
    assert location
    assert location.place == Place(1.0, 2.0, "Zürich, Höngg")


def test_addresses_of_one_site_share_one_object(tmp_path: Path) -> None:
    table = read(tmp_path, "network,site,latitude,longitude\n10.0.0.0/8,a,1,2\n11.0.0.0/8,a,1,2\n")
    assert at(table, "10.0.0.1") is at(table, "11.0.0.1")


def test_the_smallest_domain_around_a_name_counts(tmp_path: Path) -> None:
    lines = ["*.org", "*.example.org", "*.rack.example.org", "vm.rack.example.org", "localhost"]
    text = "".join(f"{name},{name},1,2\n" for name in lines)
    table = read(tmp_path, "network,site,latitude,longitude\n" + text)
    names = ("vm.rack.example.org", "vm2.rack.example.org", "rack.example.org", "example.org", "org", "com")
    found = [location and location.place.site for location in map(table.named, (*names, "LOCALHOST."))]
    assert found == [
        "vm.rack.example.org",
        "*.rack.example.org",
        "*.example.org",
        "*.org",
        None,
        None,
        "localhost",
    ]


@given(st.text())
def test_any_name_can_be_asked_for(name: str) -> None:
    here = Location(Place(1.0, 2.0, "here"))
    assert LocationTable({}, {"*.example.org": here}).named(name) in (None, here)


def test_a_very_long_name_costs_little() -> None:
    table = LocationTable({}, {"*.example.org": Location(Place(1.0, 2.0, "here"))})
    assert table.named("a." * 5000 + "example.com") is None


def test_every_mistake_is_told_by_line_and_column(tmp_path: Path) -> None:
    found = mistakes(
        tmp_path,
        "# our sites\n"
        "network,site,latitude,longitude,tier,region,networks\n"
        "10.0.0.0/8,good,1,2\n"
        "\n"
        "10.0.0.0/33,site,1,2\n"
        "10.0.0.1/8,site,1,2\n"
        ",site,1,2\n"
        "10.1.0.0/16,,1,2\n"
        "# 10.2.0.0/16,commented,out\n"
        "10.2.0.0/16,site,91,-181\n"
        "10.3.0.0/16,site,nan,north\n"
        "10.4.0.0/16,site,1\n"
        "10.5.0.0/16\n"
        "10.6.0.0/16,site,1,2,-1\n"
        "10.7.0.0/16,site,1,2,1.5,<b>,LHCONE;ESnet\n"
        "10.8.0.0/16,site,1,2,1,aws us-east-1,LHCONE,more\n"
        "10.0.0.0/8,again,1,2\n"
        "-bad.example.org,site,1,2\n"
        "*.*.example.org,site,1,2\n"
        "10.1.2.3.4,site,1,2\n",
    )
    assert [":".join(one.split(":")[:2]) for one in found] == [
        "line 5: network",
        "line 6: network",
        "line 7: network",
        "line 8: site",
        "line 10: latitude",
        "line 10: longitude",
        "line 11: latitude",
        "line 11: longitude",
        "line 12: longitude",
        "line 13: latitude",
        "line 13: longitude",
        "line 13: site",
        "line 14: tier",
        "line 15: tier",
        "line 15: region",
        "line 15: networks",
        "line 16: 8 values for 7 columns",
        "line 17: network",
        "line 18: network",
        "line 19: network",
        "line 20: network",
    ]
    assert "line 10: latitude: '91' is not a number from -90 to 90" in found
    assert "line 6: network: 10.0.0.1/8 has host bits set" in found
    assert "line 17: network: it is on line 3 already" in found


@pytest.mark.parametrize(
    "text", ["1_0", "٤٥", "\uff14\uff15", "inf", "nan", "0x1", "1,5", ".", "1e", "--1", "1 0"]
)
@pytest.mark.parametrize("column", ["latitude", "longitude"])
def test_what_is_no_decimal_number_of_ascii_digits_is_no_latitude(
    tmp_path: Path, column: str, text: str
) -> None:
    cells = {"latitude": "1", "longitude": "2"} | {column: f'"{text}"'}
    row = f"10.0.0.0/8,site,{cells['latitude']},{cells['longitude']}\n"
    (found,) = mistakes(tmp_path, "network,site,latitude,longitude\n" + row)
    assert found.startswith(f"line 2: {column}: {text!r} is not a number from -")


@pytest.mark.parametrize("text", ["46.25", "-46.25", "+46.25", "46", "46.", ".5", "4.625e1", "4625E-2"])
def test_a_latitude_is_read_in_every_form_that_programs_write(tmp_path: Path, text: str) -> None:
    location = at(read(tmp_path, f"network,site,latitude,longitude\n10.0.0.0/8,a,{text},2\n"), "10.0.0.1")
    assert location
    assert location.place.latitude == float(text)


@pytest.mark.parametrize("character", ["\0", "\n", "\r", "\t", "\x1b", "\x7f", "\x85", "\u2028"])
@pytest.mark.parametrize("column", ["site", "city", "country_code"])
def test_a_control_character_in_a_name_is_told_by_line_and_column(
    tmp_path: Path, column: str, character: str
) -> None:
    cells = {"site": "a", "city": "b", "country_code": "CA"} | {column: f'"a{character}b"'}
    text = f"network,latitude,longitude,{','.join(cells)}\n10.0.0.0/8,1,2,{','.join(cells.values())}\n"
    (found,) = mistakes(tmp_path, text)
    line = 3 if character in "\r\n" else 2  # where the row ends
    assert found == f"line {line}: {column}: {f'a{character}b'!r} holds a control character or a line's end"


def test_a_table_with_names_of_more_networks_than_can_be_told_apart_is_refused(tmp_path: Path) -> None:
    def table(names: int) -> str:
        rows = (f"10.0.{n}.0/24,a,1,2,net{n % names} net0\n" for n in range(200))
        return "network,site,latitude,longitude,networks\n" + "".join(rows)

    location = at(read(tmp_path, table(63)), "10.0.62.1")
    assert location
    assert location.networks == {"net62", "net0"}
    assert mistakes(tmp_path, table(64)) == ["it has 64 names of networks; at most 63 can be told apart"]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", ["the header line: lacks network, site, latitude, longitude"]),
        (b"# only a comment\n", ["the header line: lacks network, site, latitude, longitude"]),
        (
            b"net,site,latitude\n10.0.0.0/8,x,1\n",
            [
                f"the header line: 'net' is no column; columns are {', '.join((*NEEDED, *MORE))}",
                "the header line: lacks network, longitude",
            ],
        ),
        (b"network,site,latitude,longitude,site\n", ["the header line: 'site' is there twice"]),
        (b"network,site,latitude,longitude\n10.0.0.0/8,x,1,2\n\xff\xfe,x,1,2\n", ["line 3: not in UTF-8"]),
        (b'network,site,latitude,longitude\n10.0.0.0/8,"x,1,2\n', ["line 2: unexpected end of data"]),
        (b"\x00\x01\x02", None),
        (b"\x1f\x8b\x08\x00", None),
    ],
)
def test_a_file_that_is_no_table_is_told(tmp_path: Path, content: bytes, found: list[str] | None) -> None:
    told = mistakes(tmp_path, content)
    assert told
    assert found is None or told == found


def test_a_missing_table_is_named() -> None:
    with pytest.raises(SettingsError, match=r"^/nowhere/x\.csv: No such file or directory$"):
        LocationTable.read(Path("/nowhere/x.csv"))


def test_a_file_full_of_mistakes_is_not_told_line_by_line(tmp_path: Path) -> None:
    found = mistakes(tmp_path, "network,site,latitude,longitude\n" + "x y,site,1,2\n" * 5000)
    assert len(found) == 101
    assert found[-1] == "4900 more mistakes"


def test_a_look_into_100_000_lines_takes_microseconds(tmp_path: Path) -> None:
    lines = (f"10.{n >> 8 & 255}.{n & 255}.{n >> 16}/32,site{n % 500},1,2\n" for n in range(100_000))
    table = read(tmp_path, "network,site,latitude,longitude\n" + "".join(lines))
    numbers = [parsed(f"10.{n % 256}.7.{n % 3}")[0] for n in range(1000)]
    began = time.process_time()
    assert sum(table.at(number) is not None for number in numbers) > 100
    assert time.process_time() - began < 0.2  # 200 microseconds each: a pass over all lines takes 10 ms


def test_the_examples_of_the_documentation_can_be_used(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "server.md").read_text()
    examples = [
        dedent(block).strip() + "\n" for block in re.findall(r"```\n(\s*network,.*?)```", text, re.DOTALL)
    ]
    tables = [example for example in examples if example.startswith("network,site")]
    declared = [example for example in examples if example.startswith("network,name")]
    assert at(read(tmp_path, tables[0]), "10.1.9.7") == Location(
        Place(48.463, -123.312, "UVic", tier=1), None, frozenset()
    )
    (tmp_path / "networks.csv").write_text(declared[0])
    assert len(read_networks(tmp_path / "networks.csv")) == 3
