"""The only place that knows everything: wiring, server, worker, command line, demo."""
