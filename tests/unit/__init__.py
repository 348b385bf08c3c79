"""What can be decided without a socket."""
