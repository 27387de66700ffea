"""The HTTP gateway, through which existing workers and scripts use the deployment. Routes only; verbs do the work."""
