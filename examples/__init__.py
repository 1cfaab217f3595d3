"""Programs that use DDSR as somebody else's program would."""
