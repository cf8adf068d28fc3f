//! The mount API of Linux 5.2 and later: fsopen(2), open_tree(2), mount_setattr(2), move_mount(2), and openat2(2).
