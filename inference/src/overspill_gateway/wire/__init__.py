"""HTTP/1.1 on sockets: the server's and the client's protocol, connection pools. Nothing here knows of models."""
