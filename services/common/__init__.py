"""What the sender and the receiver share: the whole of HTTP but their two addresses."""
