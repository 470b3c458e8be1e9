"""What the tests of the five protocols together are made of: servers, clients, doors, and how events must look."""
