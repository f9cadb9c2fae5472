//! The types both sides share.
