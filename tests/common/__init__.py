"""Tests of what two programs share."""
