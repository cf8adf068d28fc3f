//! What Tandem remembers of a container between two commands.
