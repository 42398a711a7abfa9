//! What measurements share: stores, rounds, tables.
