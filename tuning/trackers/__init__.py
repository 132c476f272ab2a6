"""Tracking: one event log per run, and the trackers that are fed from it."""
