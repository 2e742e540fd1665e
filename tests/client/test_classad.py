"""What HTCondor is told."""

import io
import json
import os
import re

import pytest

from shoal_client import classad
from shoal_common.version import VERSION
from tests.client import parts
from tests.client.conftest import Worker


def advertised(worker: Worker, later: float = 0.0) -> dict[str, str]:
    out = io.StringIO()
    state = worker.settings.state_dir / "cvmfs.json"
    now = json.loads(state.read_text())["time"] + later if state.exists() else 0.0
    classad.advertise(worker.settings, worker.environ, now, out)
    lines = out.getvalue().splitlines()
    assert all(re.fullmatch(r'[A-Za-z]+ = ("[^"\\]*"|[0-9]+|true|false|undefined)', line) for line in lines)
    return dict(line.split(" = ", 1) for line in lines)


def test_the_choice_its_age_and_that_nothing_is_direct(worker: Worker, directory: parts.Directory) -> None:
    worker.mount("atlas.cern.ch")
    with parts.squid() as one, parts.squid() as two:
        directory.list(one, two)
        worker.run()
    told = advertised(worker, later=90.0)
    assert told == {
        "ShoalProxyAge": "90",
        "ShoalVersion": f'"{VERSION}"',
        "ShoalProxies": f'"http://{one};http://{two}"',
        "ShoalFrontierProxies": "undefined",
        "ShoalFrontierProxyAge": "undefined",
        "ShoalRepositories": '"atlas.cern.ch"',
        "ShoalDirectRepositories": '""',
        "ShoalDirect": "false",
    }


def test_a_repository_that_goes_direct_is_named(worker: Worker) -> None:
    worker.mount("atlas.cern.ch", "DIRECT")
    worker.mount("cms.cern.ch", "http://a.test:3128")
    told = advertised(worker)
    assert (told["ShoalDirect"], told["ShoalDirectRepositories"]) == ("true", '"atlas.cern.ch"')
    assert told["ShoalProxies"] == "undefined"


def test_what_is_not_known_is_undefined(worker: Worker) -> None:
    assert advertised(worker)["ShoalDirect"] == "undefined"
    worker.mount("atlas.cern.ch")
    worker.talk.path.unlink()
    assert advertised(worker)["ShoalDirect"] == "undefined"


def test_an_ordinary_user_reads_the_attribute_of_the_mount(worker: Worker) -> None:
    at = worker.root / "mnt" / "atlas.cern.ch"
    at.mkdir(parents=True)
    try:
        os.setxattr(at, "user.proxy", b"DIRECT")
    except OSError as error:
        pytest.skip(f"no extended attributes here: {error.strerror}")
    worker.settings.mounts.write_text(f"cvmfs2 {at} fuse ro 0 0\n")
    assert advertised(worker)["ShoalDirect"] == "true"
    assert worker.talk.calls == []
