"""Tests of evaluation that need torch."""
