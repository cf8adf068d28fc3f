//! The container's view of the file system: mounts, /dev, pivot, masked and read-only paths.
