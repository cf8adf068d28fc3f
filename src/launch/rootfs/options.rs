//! The options of a mount in config.json: words of mount(8) to flags of the mount API. Pure.

#![forbid(unsafe_code)]

use std::ffi::OsString;

use oci_spec::runtime::Mount;

use crate::sys::mount::{
    ATTR_ATIME, ATTR_NOATIME, ATTR_NODEV, ATTR_NODIRATIME, ATTR_NOEXEC, ATTR_NOSUID,
    ATTR_NOSYMFOLLOW, ATTR_RDONLY, ATTR_RELATIME, ATTR_STRICTATIME, MountAttr, Reach,
};

/// One property of a mount or its file system that an option sets or clears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Flag(u32);

impl Flag {
    const NONE: Flag = Flag(0);
    const RDONLY: Flag = Flag(1);
    const NOSUID: Flag = Flag(1 << 1);
    const NODEV: Flag = Flag(1 << 2);
    const NOEXEC: Flag = Flag(1 << 3);
    const NOSYMFOLLOW: Flag = Flag(1 << 4);
    const NODIRATIME: Flag = Flag(1 << 5);
    const NOATIME: Flag = Flag(1 << 6);
    const RELATIME: Flag = Flag(1 << 7);
    const STRICTATIME: Flag = Flag(1 << 8);
    const SYNC: Flag = Flag(1 << 9);
    const DIRSYNC: Flag = Flag(1 << 10);
    const MAND: Flag = Flag(1 << 11);
    const LAZYTIME: Flag = Flag(1 << 12);
    const IVERSION: Flag = Flag(1 << 13);
    const SILENT: Flag = Flag(1 << 14);
    const BIND: Flag = Flag(1 << 15);
    const REC: Flag = Flag(1 << 16);
    const REMOUNT: Flag = Flag(1 << 17);

    const fn or(self, other: Flag) -> Flag {
        Flag(self.0 | other.0)
    }
}

/// A set of [`Flag`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Flags(u32);

impl Flags {
    fn has(self, flag: Flag) -> bool {
        self.0 & flag.0 == flag.0
    }
    fn has_any(self, flag: Flag) -> bool {
        self.0 & flag.0 != 0
    }
    fn add(&mut self, flag: Flag) {
        self.0 |= flag.0;
    }
    fn remove(&mut self, flag: Flag) {
        self.0 &= !flag.0;
    }
}

const SET: bool = true;
const CLEAR: bool = false;

const FLAG_WORDS: &[(&str, bool, Flag)] = &[
    ("async", CLEAR, Flag::SYNC),
    ("atime", CLEAR, Flag::NOATIME),
    ("bind", SET, Flag::BIND),
    ("defaults", SET, Flag::NONE),
    ("dev", CLEAR, Flag::NODEV),
    ("diratime", CLEAR, Flag::NODIRATIME),
    ("dirsync", SET, Flag::DIRSYNC),
    ("exec", CLEAR, Flag::NOEXEC),
    ("iversion", SET, Flag::IVERSION),
    ("lazytime", SET, Flag::LAZYTIME),
    ("loud", CLEAR, Flag::SILENT),
    ("mand", SET, Flag::MAND),
    ("noatime", SET, Flag::NOATIME),
    ("nodev", SET, Flag::NODEV),
    ("nodiratime", SET, Flag::NODIRATIME),
    ("noexec", SET, Flag::NOEXEC),
    ("noiversion", CLEAR, Flag::IVERSION),
    ("nolazytime", CLEAR, Flag::LAZYTIME),
    ("nomand", CLEAR, Flag::MAND),
    ("norelatime", CLEAR, Flag::RELATIME),
    ("nostrictatime", CLEAR, Flag::STRICTATIME),
    ("nosuid", SET, Flag::NOSUID),
    ("nosymfollow", SET, Flag::NOSYMFOLLOW),
    ("rbind", SET, Flag::BIND.or(Flag::REC)),
    ("relatime", SET, Flag::RELATIME),
    ("remount", SET, Flag::REMOUNT),
    ("ro", SET, Flag::RDONLY),
    ("rw", CLEAR, Flag::RDONLY),
    ("silent", SET, Flag::SILENT),
    ("strictatime", SET, Flag::STRICTATIME),
    ("suid", CLEAR, Flag::NOSUID),
    ("symfollow", CLEAR, Flag::NOSYMFOLLOW),
    ("sync", SET, Flag::SYNC),
];

const PROPAGATION_WORDS: &[(&str, Propagation)] = &[
    ("private", Propagation::new(libc::MS_PRIVATE, Reach::One)),
    ("rprivate", Propagation::new(libc::MS_PRIVATE, Reach::Tree)),
    ("rshared", Propagation::new(libc::MS_SHARED, Reach::Tree)),
    ("rslave", Propagation::new(libc::MS_SLAVE, Reach::Tree)),
    (
        "runbindable",
        Propagation::new(libc::MS_UNBINDABLE, Reach::Tree),
    ),
    ("shared", Propagation::new(libc::MS_SHARED, Reach::One)),
    ("slave", Propagation::new(libc::MS_SLAVE, Reach::One)),
    (
        "unbindable",
        Propagation::new(libc::MS_UNBINDABLE, Reach::One),
    ),
];

const RECURSIVE_WORDS: &[(&str, bool, u64)] = &[
    ("ratime", CLEAR, ATTR_NOATIME),
    ("rdev", CLEAR, ATTR_NODEV),
    ("rdiratime", CLEAR, ATTR_NODIRATIME),
    ("rexec", CLEAR, ATTR_NOEXEC),
    ("rnoatime", SET, ATTR_NOATIME),
    ("rnodev", SET, ATTR_NODEV),
    ("rnodiratime", SET, ATTR_NODIRATIME),
    ("rnoexec", SET, ATTR_NOEXEC),
    ("rnorelatime", CLEAR, ATTR_RELATIME),
    ("rnostrictatime", CLEAR, ATTR_STRICTATIME),
    ("rnosuid", SET, ATTR_NOSUID),
    ("rnosymfollow", SET, ATTR_NOSYMFOLLOW),
    ("rrelatime", SET, ATTR_RELATIME),
    ("rro", SET, ATTR_RDONLY),
    ("rrw", CLEAR, ATTR_RDONLY),
    ("rstrictatime", SET, ATTR_STRICTATIME),
    ("rsuid", CLEAR, ATTR_NOSUID),
    ("rsymfollow", CLEAR, ATTR_NOSYMFOLLOW),
];

const OTHER_WORDS: &[&str] = &["idmap", "ridmap", "tmpcopyup"];

/// Every option that means something of itself; any other word is handed to the file system. For `features`.
pub fn known_mount_options() -> Vec<&'static str> {
    let flags = FLAG_WORDS.iter().map(|&(word, ..)| word);
    let propagation = PROPAGATION_WORDS.iter().map(|&(word, _)| word);
    let recursive = RECURSIVE_WORDS.iter().map(|&(word, ..)| word);
    let mut words: Vec<_> = flags
        .chain(propagation)
        .chain(recursive)
        .chain(OTHER_WORDS.iter().copied())
        .collect();
    words.sort_unstable();
    words
}

/// A change of propagation: the kind (an `MS_*` flag) and how far it reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagation {
    pub kind: u64,
    pub reach: Reach,
}

impl Propagation {
    const fn new(kind: libc::c_ulong, reach: Reach) -> Propagation {
        Propagation { kind, reach }
    }

    /// The word of a mount option or of `linux.rootfsPropagation`.
    pub fn parse(word: &str) -> Option<Propagation> {
        let found = PROPAGATION_WORDS.iter().find(|(known, _)| *known == word);
        found.map(|&(_, propagation)| propagation)
    }
}

/// How the ids of files are to be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idmap {
    /// No mapping.
    None,
    /// The top mount alone.
    One,
    /// The mount and all below it.
    Tree,
}

/// The options of one mount, each in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountOptions {
    set: Flags,
    cleared: Flags,
    recursive: MountAttr,
    /// In the order of the options: each is applied on top of the one before.
    pub propagation: Vec<Propagation>,
    pub copy_up: bool,
    pub idmap: Idmap,
    /// Parameters of the file system.
    pub data: Vec<(String, Option<OsString>)>,
}

impl MountOptions {
    /// No option at all.
    pub fn none() -> MountOptions {
        MountOptions::parse(std::iter::empty())
    }

    pub fn of(mount: &Mount) -> MountOptions {
        let words = mount.options().iter().flatten().map(String::as_str);
        let mut options = MountOptions::parse(words);
        // config.md: the type of a bind mount is of no importance, but `bind` without the option can mean nothing else.
        if mount.typ().as_deref() == Some("bind") {
            options.set.add(Flag::BIND);
        }
        let mapped = mount.uid_mappings().is_some() || mount.gid_mappings().is_some();
        if mapped && options.idmap == Idmap::None {
            options.idmap = Idmap::One;
        }
        options
    }

    fn parse<'a>(words: impl Iterator<Item = &'a str>) -> MountOptions {
        let mut options = MountOptions {
            set: Flags::default(),
            cleared: Flags::default(),
            recursive: MountAttr::default(),
            propagation: Vec::new(),
            copy_up: false,
            idmap: Idmap::None,
            data: Vec::new(),
        };
        for word in words {
            options.add(word);
        }
        options
    }

    fn add(&mut self, word: &str) {
        if let Some(&(_, set, flag)) = FLAG_WORDS.iter().find(|(known, ..)| *known == word) {
            let (into, out_of) = match set {
                SET => (&mut self.set, &mut self.cleared),
                CLEAR => (&mut self.cleared, &mut self.set),
            };
            into.add(flag);
            out_of.remove(flag);
        } else if let Some(propagation) = Propagation::parse(word) {
            self.propagation.push(propagation);
        } else if let Some(&(_, set, bits)) =
            RECURSIVE_WORDS.iter().find(|(known, ..)| *known == word)
        {
            self.add_recursive(set, bits);
        } else {
            match word {
                "" => {}
                "idmap" => self.idmap = Idmap::One,
                "ridmap" => self.idmap = Idmap::Tree,
                "tmpcopyup" => self.copy_up = true,
                data => self.data.push(match data.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Some(value.into())),
                    None => (data.to_owned(), None),
                }),
            }
        }
    }

    fn add_recursive(&mut self, set: bool, bits: u64) {
        // mount_setattr(2): the access time is one value, so a new one needs the whole old one cleared.
        let access_time = bits & ATTR_ATIME == bits;
        if access_time {
            self.recursive.set &= !ATTR_ATIME;
            self.recursive.clear |= ATTR_ATIME;
        } else if set {
            self.recursive.clear &= !bits;
        } else {
            self.recursive.clear |= bits;
            self.recursive.set &= !bits;
        }
        if set {
            self.recursive.set |= bits;
        }
    }

    pub fn is_bind(&self) -> bool {
        self.set.has(Flag::BIND)
    }

    pub fn is_remount(&self) -> bool {
        self.set.has(Flag::REMOUNT)
    }

    pub fn is_idmapped(&self) -> bool {
        self.idmap != Idmap::None
    }

    pub fn is_read_only(&self) -> bool {
        self.set.has(Flag::RDONLY)
    }

    /// Whether a bind takes the mounts below its source along.
    pub fn bind_reach(&self) -> Reach {
        match self.set.has(Flag::REC) {
            true => Reach::Tree,
            false => Reach::One,
        }
    }

    /// Whether the file system has a parameter of this name among the options.
    pub fn has_data(&self, name: &str) -> bool {
        self.data.iter().any(|(key, _)| key == name)
    }

    /// The attributes of a new mount, in which a file system of its own makes the recursive ones plain.
    pub fn fresh_attributes(&self) -> u64 {
        let plain = self.plain_attributes() | self.access_time();
        let recursive = self.recursive;
        (plain & !recursive.clear) | recursive.set
    }

    /// What to change of a bind mount before the recursive attributes: as `mount --bind -o` of util-linux would, the
    /// flags given become the mount's, all others are cleared; but a mount without any such option keeps what its
    /// source has, and the access time is changed only if an option names it.
    pub fn bind_attributes(&self) -> Option<MountAttr> {
        let shape = Flag::BIND.or(Flag::REC).or(Flag::REMOUNT);
        ((self.set.0 & !shape.0) | self.cleared.0 != 0).then(|| self.replacing_attributes())
    }

    /// What makes the flags given those of a mount, whatever it had; the access time is changed only if named.
    pub fn replacing_attributes(&self) -> MountAttr {
        let all = ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC | ATTR_NOSYMFOLLOW;
        let plain = self.plain_attributes();
        let mut attr = MountAttr {
            set: plain & all,
            clear: all & !plain,
            ..MountAttr::default()
        };
        self.change_access_time(&mut attr);
        attr
    }

    /// What to change where flags of the source are locked, as they are in a mount namespace whose user namespace has
    /// less privilege than the one it was copied from: only what the options name, and the one flag that has no lock.
    pub fn named_attributes(&self) -> MountAttr {
        let mut attr = MountAttr {
            set: self.plain_attributes() & !ATTR_NODIRATIME,
            clear: attributes(self.cleared) & !ATTR_NODIRATIME,
            ..MountAttr::default()
        };
        attr.clear |= ATTR_NOSYMFOLLOW & !attr.set;
        self.change_access_time(&mut attr);
        attr
    }

    fn change_access_time(&self, attr: &mut MountAttr) {
        let named = Flag::NOATIME
            .or(Flag::RELATIME)
            .or(Flag::STRICTATIME)
            .or(Flag::NODIRATIME);
        if !self.set.has_any(named) {
            return;
        }
        attr.clear |= ATTR_ATIME;
        attr.set |= self.access_time();
        match self.set.has(Flag::NODIRATIME) {
            true => attr.set |= ATTR_NODIRATIME,
            false => attr.clear |= ATTR_NODIRATIME,
        }
    }

    /// The attributes for the mount and all below it.
    pub fn recursive_attributes(&self) -> Option<MountAttr> {
        (!self.recursive.is_empty()).then_some(self.recursive)
    }

    /// Parameters of every file system, as fsconfig(2) names them. `silent` is not among them: it only quietens
    /// the kernel's log, and has no name in the new mount API.
    pub fn superblock_parameters(&self) -> impl Iterator<Item = &'static str> {
        let words = [
            (Flag::SYNC, "sync", "async"),
            (Flag::DIRSYNC, "dirsync", ""),
            (Flag::MAND, "mand", "nomand"),
            (Flag::LAZYTIME, "lazytime", "nolazytime"),
        ];
        let (set, cleared) = (self.set, self.cleared);
        words.into_iter().filter_map(move |(flag, on, off)| {
            let off = (cleared.has(flag) && !off.is_empty()).then_some(off);
            set.has(flag).then_some(on).or(off)
        })
    }

    /// Whether the file system is asked to count changes of inodes, which has no common parameter.
    pub fn wants_iversion(&self) -> bool {
        self.set.has(Flag::IVERSION)
    }

    fn plain_attributes(&self) -> u64 {
        attributes(self.set)
    }

    fn access_time(&self) -> u64 {
        // In this order as mount(2) has it.
        if self.set.has(Flag::STRICTATIME) {
            ATTR_STRICTATIME
        } else if self.set.has(Flag::NOATIME) {
            ATTR_NOATIME
        } else {
            ATTR_RELATIME
        }
    }
}

fn attributes(flags: Flags) -> u64 {
    let pairs = [
        (Flag::RDONLY, ATTR_RDONLY),
        (Flag::NOSUID, ATTR_NOSUID),
        (Flag::NODEV, ATTR_NODEV),
        (Flag::NOEXEC, ATTR_NOEXEC),
        (Flag::NOSYMFOLLOW, ATTR_NOSYMFOLLOW),
        (Flag::NODIRATIME, ATTR_NODIRATIME),
    ];
    let present = pairs.into_iter().filter(|&(flag, _)| flags.has(flag));
    present.fold(0, |all, (_, bit)| all | bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> MountOptions {
        MountOptions::parse(words.iter().copied())
    }

    #[test]
    fn the_last_word_of_a_pair_wins() {
        assert_eq!(options(&["ro", "rw"]).fresh_attributes(), 0);
        assert_eq!(options(&["rw", "ro"]).fresh_attributes(), ATTR_RDONLY);
        assert_eq!(
            options(&["dev", "nodev", "exec"]).fresh_attributes(),
            ATTR_NODEV
        );
    }

    #[test]
    fn unknown_words_are_parameters_of_the_file_system() {
        let parsed = options(&["mode=755", "newinstance", "defaults", "a=b=c"]);
        let expected = [
            ("mode", Some("755")),
            ("newinstance", None),
            ("a", Some("b=c")),
        ];
        let expected: Vec<_> = expected
            .map(|(key, value)| (key.to_owned(), value.map(OsString::from)))
            .into();
        assert_eq!(parsed.data, expected);
    }

    #[test]
    fn a_bind_without_flags_keeps_those_of_its_source() {
        assert_eq!(options(&["rbind", "rprivate"]).bind_attributes(), None);
    }

    #[test]
    fn a_bind_with_one_flag_clears_the_others_but_not_the_access_time() {
        let attr = options(&["bind", "ro"]).bind_attributes().unwrap();
        assert_eq!(attr.set, ATTR_RDONLY);
        assert_eq!(
            attr.clear,
            ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC | ATTR_NOSYMFOLLOW
        );
    }

    #[test]
    fn an_access_time_clears_the_old_one_first() {
        let attr = options(&["bind", "noatime"]).bind_attributes().unwrap();
        assert_eq!(
            attr.clear & (ATTR_ATIME | ATTR_NODIRATIME),
            ATTR_ATIME | ATTR_NODIRATIME
        );
        assert_eq!(attr.set, ATTR_NOATIME);
        let recursive = options(&["rnoatime"]).recursive_attributes().unwrap();
        assert_eq!((recursive.set, recursive.clear), (ATTR_NOATIME, ATTR_ATIME));
    }

    #[test]
    fn recursive_words_set_and_clear() {
        let attr = options(&["rro", "rsuid", "rrw"]).recursive_attributes();
        let attr = attr.unwrap();
        assert_eq!((attr.set, attr.clear), (0, ATTR_NOSUID | ATTR_RDONLY));
    }

    #[test]
    fn strictatime_wins_over_noatime_as_in_mount_2() {
        let attributes = options(&["noatime", "strictatime"]).fresh_attributes();
        assert_eq!(attributes, ATTR_STRICTATIME);
    }

    #[test]
    fn propagation_keeps_its_order() {
        let parsed = options(&["rslave", "shared"]).propagation;
        let kinds: Vec<_> = parsed.iter().map(|one| (one.kind, one.reach)).collect();
        assert_eq!(
            kinds,
            [(libc::MS_SLAVE, Reach::Tree), (libc::MS_SHARED, Reach::One)]
        );
    }

    #[test]
    fn every_known_option_is_named_once() {
        let words = known_mount_options();
        let mut unique = words.clone();
        unique.dedup();
        assert_eq!(words, unique);
        assert!(words.contains(&"rro") && words.contains(&"tmpcopyup"));
    }
}
