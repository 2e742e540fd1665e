"""Location table and databases change under a running server: new answers soon, none dropped."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mmdb_writer import MMDBWriter
from netaddr import IPSet

from testbed.process import wait_until
from tests.e2e.hammer import Hammer, ask, names
from tests.fakes import beat
from tests.server.process import ServerProcess, amqp_url, publish

SOON = 5.0
WORKER = "127.9.0.1"
HEAD = "network,site,latitude,longitude\n"
WEST, EAST = "48.46,-123.31", "46.23,6.05"
SQUIDS = {"west", "east"}
Move = Callable[[str], None]


class House:
    """A server with a table and a database, and a worker whose place both may tell."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True)
        self.table = directory / "locations.csv"
        self.database = directory / "city.mmdb"
        self.place_in_table(None)
        self.place_in_database(WEST)
        self.server = ServerProcess(
            directory, "--verify", "no", "--locations", self.table, "--geoip", self.database
        )

    def place_in_table(self, worker: str | None) -> None:
        """Write the table anew where it stands, as an editor may do."""
        self.table.write_text(HEAD + self.rows(worker))

    def replace_table(self, worker: str | None) -> None:
        """Put another table in its place, as a deployment does."""
        fresh = self.table.with_suffix(".new")
        fresh.write_text(HEAD + self.rows(worker))
        fresh.replace(self.table)

    def rows(self, worker: str | None) -> str:
        squids = f"192.0.2.1,westsquids,{WEST}\n192.0.2.2,eastsquids,{EAST}\n"
        return squids + (f"{WORKER},workers,{worker}\n" if worker else "")

    def place_in_database(self, worker: str) -> None:
        """Put another database in its place."""
        latitude, longitude = map(float, worker.split(","))
        writer = MMDBWriter(ip_version=4, database_type="GeoLite2-City", float_type="f64")
        where = {"location": {"latitude": latitude, "longitude": longitude}}
        writer.insert_network(IPSet(["127.9.0.0/16"]), where)
        fresh = self.database.with_suffix(".new")
        writer.to_db_file(str(fresh))
        fresh.replace(self.database)

    def break_database(self) -> None:
        fresh = self.database.with_suffix(".new")
        fresh.write_bytes(b"half a download")
        fresh.replace(self.database)

    def nearest(self) -> str:
        status, said = ask(self.server.url, "/nearest", WORKER)
        assert status == 200
        return names(said)[0]

    def await_nearest(self, squid: str) -> None:
        wait_until(lambda: self.nearest() == squid, SOON, f"{squid} is the nearest")

    def await_log(self, *words: str) -> None:
        wait_until(
            lambda: any(all(word in line for word in words) for line in self.server.tail(200).splitlines()),
            SOON,
            f"{words} in one line of the log",
        )


@pytest.fixture
def house(new_directory: Callable[[str], Path]) -> Iterator[House]:
    made = House(new_directory("reload"))
    with made.server as server:
        publish(
            amqp_url(server),
            beat(uuid="w", hostname="west", public_ip="192.0.2.1").encode(),
            beat(uuid="e", hostname="east", public_ip="192.0.2.2").encode(),
        )
        server.await_names(*SQUIDS)
        yield made


@contextmanager
def undisturbed(house: House) -> Iterator[None]:
    """Others ask meanwhile, and each of them gets a whole answer."""
    with Hammer(house.server.url, SQUIDS, WORKER) as hammer:
        hammer.await_answers(20)
        yield
        hammer.await_answers(20)
    assert hammer.failures == []


def test_an_edited_table_counts_within_five_seconds_and_no_request_is_dropped(house: House) -> None:
    assert house.nearest() == "west"
    with undisturbed(house):
        house.place_in_table(EAST)
        house.await_nearest("east")
        house.replace_table(WEST)
        house.await_nearest("west")


def test_a_replaced_database_counts_within_five_seconds_and_no_request_is_dropped(house: House) -> None:
    with undisturbed(house):
        house.place_in_database(EAST)
        house.await_nearest("east")
        house.place_in_database(WEST)
        house.await_nearest("west")


def test_a_broken_table_is_refused_with_line_and_reason_and_the_old_one_stays(house: House) -> None:
    with undisturbed(house):
        house.place_in_table(EAST)
        house.await_nearest("east")
        house.table.write_text(HEAD + house.rows(WEST) + "198.51.100.0/24,nowhere,91,0\n")
        house.await_log(f"{house.table}", "line 5", "latitude", "'91'")
        assert house.nearest() == "east"
        house.place_in_table(WEST)
        house.await_nearest("west")


def test_a_broken_database_is_refused_with_the_reason_and_hinders_no_other_file(house: House) -> None:
    with undisturbed(house):
        house.break_database()
        house.await_log(f"{house.database}")
        assert house.nearest() == "west"
        house.place_in_table(EAST)
        house.await_nearest("east")
        house.place_in_table(None)
        house.await_nearest("west")


def test_a_file_that_vanishes_for_a_while_costs_nothing(house: House) -> None:
    with undisturbed(house):
        house.place_in_table(EAST)
        house.await_nearest("east")
        house.table.unlink()
        house.await_log(f"{house.table}", "No such file")
        assert house.nearest() == "east"
        house.place_in_table(None)
        house.await_nearest("west")
