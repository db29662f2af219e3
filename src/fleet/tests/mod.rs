//! The script held to the reference of the protocol.
