"""What the tests of real processes share: the server under test, clients, values, settings."""
