"""The gateway beside others: what each costs per request, per streamed chunk and per open stream, on this machine."""
