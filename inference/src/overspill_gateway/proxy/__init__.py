"""One request from a client to an answer: routes and replicas as they are now, and the exchange that uses them."""
