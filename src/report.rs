//! The one place where errors and log lines leave the program.
