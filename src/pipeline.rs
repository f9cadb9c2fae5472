//! From a plan to artefacts: the table of contents, one line a stage. Plan, store, progress are passed in; nothing is looked up.
