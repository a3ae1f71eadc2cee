"""Where data is kept: the ports every stage speaks to, and the engines behind them."""
