//! The kernel side of the enforcer: loads, pins, adopts, flips and reads back what is enforced.
