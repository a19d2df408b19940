"""The one `config.yaml` of both processes."""
