//! `linux.cgroupsPath` and `exec --cgroup`: a path below a hierarchy that cannot lead out of it.

use std::path::{Component, Path};

use super::error::{CgroupError, PathFlaw};

/// A clean path below some directory of a hierarchy: one component or more, none of them `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Relative(String);

/// Where a container's cgroup goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Below the root of the hierarchy.
    Absolute(Relative),
    /// Beside (v2) or below (v1) the cgroup that we are in, as runc has it.
    Own(Relative),
}

impl Place {
    /// `cgroupsPath`, or the container's id where there is none (or an empty one, which Go programs write).
    pub(super) fn of(path: Option<&Path>, id: &str) -> Result<Self, CgroupError> {
        let given = path.filter(|path| !path.as_os_str().is_empty());
        let path = given.unwrap_or(Path::new(id));
        let relative = Relative::parse(path).map_err(|flaw| CgroupError::Path {
            path: path.into(),
            flaw,
        })?;
        Ok(if path.is_absolute() {
            Self::Absolute(relative)
        } else {
            Self::Own(relative)
        })
    }
}

impl Relative {
    /// Takes the path apart. `..` is refused instead of resolved: it is never needed, and what it means would depend on
    /// where tandem runs.
    pub(super) fn parse(path: &Path) -> Result<Self, PathFlaw> {
        let mut clean = String::new();
        for component in path.components() {
            match component {
                Component::RootDir | Component::CurDir => {}
                Component::ParentDir | Component::Prefix(_) => return Err(PathFlaw::Parent),
                Component::Normal(name) => {
                    let name = name.to_str().ok_or(PathFlaw::Character)?;
                    if name.chars().any(char::is_control) {
                        return Err(PathFlaw::Character);
                    }
                    if !clean.is_empty() {
                        clean.push('/');
                    }
                    clean.push_str(name);
                }
            }
        }
        if clean.is_empty() {
            return Err(PathFlaw::Root);
        }
        Ok(Self(clean))
    }

    /// `self` below `base`, which is a path as /proc/self/cgroup writes it.
    pub(super) fn below(&self, base: &str) -> Result<Self, PathFlaw> {
        match Self::parse(Path::new(base)) {
            Ok(base) => Ok(Self(format!("{}/{}", base.0, self.0))),
            Err(PathFlaw::Root) => Ok(self.clone()),
            Err(flaw) => Err(flaw),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The path and each of its ancestors below the hierarchy's root, from the top down: `a`, `a/b`, `a/b/c`.
    pub(super) fn levels(&self) -> impl Iterator<Item = &str> {
        let slashes = self.0.match_indices('/').map(|(at, _)| at);
        let ends = slashes.chain(std::iter::once(self.0.len()));
        ends.map(|end| &self.0[..end])
    }

    /// The ancestors alone.
    pub(super) fn ancestors(&self) -> impl Iterator<Item = &str> {
        self.levels().filter(|level| level.len() < self.0.len())
    }
}

/// The path of `controller` in the text of /proc/self/cgroup; an empty name asks for cgroup v2 (cgroups(7)).
pub(super) fn own_cgroup<'a>(text: &'a str, controller: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let number = fields.next()?;
        let controllers = fields.next()?;
        let path = fields.next()?;
        let found = match controller {
            "" => number == "0" && controllers.is_empty(),
            name => controllers.split(',').any(|one| one == name),
        };
        found.then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(path: &str) -> Result<Place, CgroupError> {
        Place::of(Some(Path::new(path)), "id")
    }

    fn relative(path: &str) -> Relative {
        Relative::parse(Path::new(path)).unwrap()
    }

    #[test]
    fn without_cgroups_path_the_id_is_the_place() {
        let expected = Place::Own(relative("id"));
        assert_eq!(Place::of(None, "id").unwrap(), expected);
        assert_eq!(place("").unwrap(), expected);
    }

    #[test]
    fn slashes_and_dots_are_cleaned() {
        let expected = Place::Absolute(relative("docker/x"));
        assert_eq!(place("//docker/./x/").unwrap(), expected);
        assert_eq!(place("a//b").unwrap(), Place::Own(relative("a/b")));
    }

    #[test]
    fn no_path_leads_out_of_the_hierarchy() {
        for bad in ["..", "/..", "/a/../../b", "a/..", "../x"] {
            let error = place(bad).unwrap_err().to_string();
            assert!(error.contains("must not contain \"..\""), "{bad}: {error}");
        }
        for bad in ["/", "//", "/."] {
            let error = place(bad).unwrap_err().to_string();
            assert!(error.contains("root of the hierarchy"), "{bad}: {error}");
        }
        assert!(place("/a\nb").is_err());
    }

    #[test]
    fn levels_go_from_the_top_down() {
        let path = relative("a/b/c");
        let levels: Vec<_> = path.levels().collect();
        assert_eq!(levels, ["a", "a/b", "a/b/c"]);
        let ancestors: Vec<_> = path.ancestors().collect();
        assert_eq!(ancestors, ["a", "a/b"]);
    }

    #[test]
    fn a_path_below_the_root_cgroup_stays_as_it_is() {
        assert_eq!(relative("x").below("/"), Ok(relative("x")));
        assert_eq!(
            relative("x").below("/a.slice/b"),
            Ok(relative("a.slice/b/x"))
        );
        // Seen when the process is outside its cgroup namespace's root, cgroup_namespaces(7).
        assert_eq!(relative("x").below("/../b"), Err(PathFlaw::Parent));
    }

    #[test]
    fn own_cgroup_is_found_by_controller() {
        let text = "9:name=systemd:/s\n4:memory:/m:with:colons\n1:cpu,cpuacct:/c\n0::/u\n";
        assert_eq!(own_cgroup(text, ""), Some("/u"));
        assert_eq!(own_cgroup(text, "cpuacct"), Some("/c"));
        assert_eq!(own_cgroup(text, "memory"), Some("/m:with:colons"));
        assert_eq!(own_cgroup(text, "name=systemd"), Some("/s"));
        assert_eq!(own_cgroup(text, "pids"), None);
    }
}
