"""Golden numbers of the released systems against our networks: one module per system. See tests/parity.py."""
