"""Exports of a dataset in the formats of other tools."""
