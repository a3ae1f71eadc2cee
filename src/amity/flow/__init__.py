"""How a stage runs: step contract, runner, timers, outbox, failed records."""
