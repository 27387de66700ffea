"""Tests of loading photographs."""
