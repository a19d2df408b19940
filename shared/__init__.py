"""What the scoring service and the trainer agree on: the wire contract, the client, the configuration."""
