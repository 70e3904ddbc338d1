"""Partner events: the numbered log of business events and its delivery by webhook, SSE and cursor
polling."""
