"""Ray Serve: the endpoint's deployments, the handles to them, and `wbrag serve`."""
