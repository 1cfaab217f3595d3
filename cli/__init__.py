"""The command line `ddsr`."""
