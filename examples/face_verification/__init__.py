"""Face verification over a channel that must not see the face: a kiosk, and the backend that it sends to."""
