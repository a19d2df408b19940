"""The teacher behind Anthropic's Messages API."""
