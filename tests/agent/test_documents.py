"""The snippets of docs/agent.md, and the unit, as far as this machine has those who read them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from testbed.process import ROOT

UNIT = ROOT / "conf" / "shoal-agent.service"


def snippet(beginning: str) -> str:
    """The block of docs/agent.md whose text begins so."""
    blocks = re.findall(
        r"^```\w+\n(.*?)^```$", (ROOT / "docs" / "agent.md").read_text(), re.DOTALL | re.MULTILINE
    )
    (block,) = [block for block in blocks if block.startswith(beginning)]
    return str(block)


def read_by(program: str, *arguments: str) -> str:
    """What `program` says of what it was given."""
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}, which is not installed")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    return said


def test_the_cloud_config_is_valid(tmp_path: Path) -> None:
    file = tmp_path / "user-data"
    file.write_text(snippet("#cloud-config"))
    assert "Valid" in read_by("cloud-init", "schema", "--config-file", str(file))


def test_the_puppet_class_is_valid(tmp_path: Path) -> None:
    file = tmp_path / "shoal_agent.pp"
    file.write_text(snippet("class profile::shoal_agent"))
    read_by("puppet", "parser", "validate", "--confdir", str(tmp_path), "--vardir", str(tmp_path), str(file))


def test_the_unit_is_valid_and_gives_little_away(tmp_path: Path) -> None:
    program = tmp_path / "shoal-agent"
    program.touch(0o755)
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("ExecStart=shoal-agent", f"ExecStart={program}"))
    assert read_by("systemd-analyze", "verify", "--man=no", str(unit)) == ""
    told = read_by("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20", str(unit))
    assert "Overall exposure level" in told
