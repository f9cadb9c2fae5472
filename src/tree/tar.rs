//! Reads trees from tar archives, and writes them.
