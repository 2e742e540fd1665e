"""What is a node's own."""

from pathlib import Path

from shoal_client import node


def test_shares_are_spread_evenly_over_nodes() -> None:
    shares = [node.share(f"node{number}", "splay") for number in range(2000)]
    assert all(0 <= share < 1 for share in shares)
    tenths = [sum(int(10 * share) == tenth for share in shares) for tenth in range(10)]
    assert all(150 < count < 250 for count in tenths)


def test_a_share_is_the_same_in_each_run_and_another_for_another_use() -> None:
    assert node.share("node1", "splay") == node.share("node1", "splay")
    assert node.share("node1", "splay") != node.share("node1", "192.0.2.1:3128")


def test_the_identity_needs_no_machine_id(tmp_path: Path) -> None:
    (tmp_path / "machine-id").write_text("0123456789abcdef\n")
    with_id, without = node.identity(tmp_path / "machine-id"), node.identity(tmp_path / "away")
    assert with_id.endswith(" 0123456789abcdef")
    assert with_id.startswith(without)
