"""Fakes and the conformance suites that an engine or a plug-in must pass."""
