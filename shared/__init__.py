"""What the services, the worker and the programs of DDSR share."""
