"""Helpers of the tests of the five protocols together: servers, clients, doors, and the expected form of each event."""
