//! Whether cgroups can be expected to be ours.

use std::fs;

use nix::unistd::Uid;

/// Not root, or root of a user namespace only.
pub(super) fn is_rootless() -> bool {
    !Uid::effective().is_root() || in_user_namespace()
}

/// Whether our user namespace is not the first one, which alone maps all ids to themselves (user_namespaces(7)).
pub(super) fn in_user_namespace() -> bool {
    let Ok(map) = fs::read_to_string("/proc/self/uid_map") else {
        // A kernel without user namespaces.
        return false;
    };
    !map.split_whitespace().eq(["0", "0", "4294967295"])
}
