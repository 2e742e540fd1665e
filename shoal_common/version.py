"""The version that every part reports (`--version`, HTTP User-Agent, heartbeats)."""

VERSION = "2.0.0a1"
