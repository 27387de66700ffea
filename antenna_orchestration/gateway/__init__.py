"""The HTTP gateway: existing workers and scripts speak to the deployment through it. Routes only; verbs do the work."""
