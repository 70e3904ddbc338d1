"""The embedded stack: a database, two brokers and every service on one machine. Started by
`aurelian up`."""
