//! Histories of other tools, one JSON object per line.
