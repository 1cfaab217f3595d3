"""The receiver: recovers a hidden face."""
