"""The state of a sweep, from plans, records and the scheduler."""
