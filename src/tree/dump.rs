//! A tree as text, one line an entry, in the format of composefs-dump(5): for snapshots, digests and eyes.
