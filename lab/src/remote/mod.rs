//! Other hosts, over ssh.
