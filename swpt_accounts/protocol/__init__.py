"""The Swaptacular Messaging Protocol on the wire: bytes to commands, events to bytes. Pure."""
