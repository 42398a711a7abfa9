//! Go-style command-line flags over clap.
