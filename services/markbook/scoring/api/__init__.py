"""The HTTP interface: routes, who may call them, what a request may hold, errors as JSON."""
