"""What is decided about engines that share one machine. Pure: no I/O, no clock."""
