"""The sender: hides a face."""
