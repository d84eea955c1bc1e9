"""Torture: commands that are killed, and files that are broken, over and over; see docs/torture.md."""
