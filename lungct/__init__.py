"""Chest CT from raw scans to lung-nodule detections that are explained, and measures of both."""

__version__ = "0.1.0"
