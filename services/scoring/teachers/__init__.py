"""Those who mark: the protocol, the Anthropic API, and an offline stand-in."""
