"""The way of one request, from its arrival to the end of its answer: events in, actions out."""
