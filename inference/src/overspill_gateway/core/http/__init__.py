"""What HTTP has, of either side: heads, framing, header fields, errors. Not here: sockets (``wire``)."""
