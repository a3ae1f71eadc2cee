"""Turns a target into messages and hands them over, once each."""
