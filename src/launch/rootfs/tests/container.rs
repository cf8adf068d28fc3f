//! A process in namespaces of its own that sets up a root file system as the launch would, then looks around in it.

use std::error::Error;
use std::fs;
use std::io::{PipeWriter, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Once;

use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use oci_spec::runtime::Spec;
use serde_json::{Value, json};

use crate::launch::rootfs::{CgroupView, Plan, Rootfs, Sources, check};
use crate::sys::mount::{MountAttr, Reach, forked, set_attributes_at};

/// A bundle on a tmpfs of the test's own, and what is to be done with it.
pub struct Container {
    dir: PathBuf,
    config: Value,
    user_namespace: bool,
    no_pivot: bool,
    cgroup: CgroupView<'static>,
    outside: Vec<fn(&Path)>,
    before: Vec<fn(&Path)>,
}

/// What the process in the container has to say, or its error, the whole chain on one line.
pub type Outcome = Result<String, String>;

impl Container {
    /// A root file system that has next to nothing.
    pub fn new() -> Container {
        quieten_children();
        let template = std::env::temp_dir().join("tandem-rootfs-XXXXXX");
        let dir = nix::unistd::mkdtemp(&template).unwrap();
        let rootfs = dir.join("rootfs");
        for name in ["bin", "proc", "sys", "dev", "etc", "tmp"] {
            fs::create_dir_all(rootfs.join(name)).unwrap();
        }
        fs::write(rootfs.join("etc/image"), "from the image").unwrap();
        Container {
            dir,
            config: json!({
                "ociVersion": "1.2.0",
                "root": {"path": "rootfs"},
                "mounts": [
                    {"destination": "/proc", "type": "proc", "source": "proc"},
                    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                     "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
                    {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                     "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
                    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                     "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
                    {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
                     "options": ["nosuid", "noexec", "nodev"]},
                    {"destination": "/sys", "type": "sysfs", "source": "sysfs",
                     "options": ["nosuid", "noexec", "nodev", "ro"]},
                ],
                "linux": {"namespaces": [
                    {"type": "mount"}, {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "network"}
                ]}
            }),
            user_namespace: false,
            no_pivot: false,
            cgroup: CgroupView::Legacy,
            outside: Vec::new(),
            before: Vec::new(),
        }
    }

    pub fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    /// A directory of the host, beside the root file system.
    pub fn host(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn mount(mut self, mount: Value) -> Container {
        self.config["mounts"].as_array_mut().unwrap().push(mount);
        self
    }

    pub fn mounts(mut self, mounts: Value) -> Container {
        self.config["mounts"] = mounts;
        self
    }

    pub fn linux(mut self, key: &str, value: Value) -> Container {
        self.config["linux"][key] = value;
        self
    }

    pub fn set(mut self, key: &str, value: Value) -> Container {
        self.config[key] = value;
        self
    }

    pub fn no_pivot(mut self) -> Container {
        self.no_pivot = true;
        self
    }

    pub fn cgroup(mut self, cgroup: CgroupView<'static>) -> Container {
        self.cgroup = cgroup;
        self
    }

    pub fn namespace(mut self, kind: &str) -> Container {
        let namespaces = &mut self.config["linux"]["namespaces"];
        namespaces
            .as_array_mut()
            .unwrap()
            .push(json!({"type": kind}));
        self
    }

    pub fn without_namespace(mut self, kind: &str) -> Container {
        let namespaces = &mut self.config["linux"]["namespaces"];
        let kept = |namespace: &Value| namespace["type"] != kind;
        namespaces.as_array_mut().unwrap().retain(kept);
        self
    }

    /// In a new user namespace with the ids from 100000 on.
    pub fn user_namespace(mut self) -> Container {
        self.user_namespace = true;
        let readable = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&self.dir, readable).unwrap();
        let owned = std::process::Command::new("chown")
            .args(["-R", "100000:100000"])
            .arg(self.rootfs())
            .status();
        assert!(owned.unwrap().success());
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        let container = self.namespace("user");
        container
            .linux("uidMappings", map.clone())
            .linux("gidMappings", map)
    }

    /// Something done on the host's side, in the new mount namespace, with the bundle's directory.
    pub fn before(mut self, act: fn(&Path)) -> Container {
        self.before.push(act);
        self
    }

    /// The same in a mount namespace around it, as the host would have done it.
    pub fn outside(mut self, act: fn(&Path)) -> Container {
        self.outside.push(act);
        self
    }

    fn spec(&self) -> Spec {
        serde_json::from_value(self.config.clone()).unwrap()
    }

    /// Sets it up and calls `look` in the container.
    pub fn run(&self, look: impl FnOnce(&Rootfs) -> String) -> Outcome {
        let (mut report, into) = std::io::pipe().unwrap();
        let (ready, go) = std::io::pipe().unwrap();
        let (unshared, tell) = std::io::pipe().unwrap();
        let spec = self.spec();
        let child = forked(|| {
            drop((report.try_clone(), go.try_clone()));
            let outcome = self.in_namespaces(&spec, (tell, ready), look, &into);
            i32::from(outcome.is_none())
        });
        let child = child.unwrap();
        drop(into);
        if self.user_namespace {
            let mut byte = [0];
            (&unshared).read_exact(&mut byte).unwrap();
            for map in ["uid_map", "gid_map"] {
                fs::write(format!("/proc/{child}/{map}"), "0 100000 65536\n").unwrap();
            }
        }
        (&go).write_all(b"!").unwrap();
        let mut text = String::new();
        report.read_to_string(&mut text).unwrap();
        let status = waitpid(child, None).unwrap();
        assert_eq!(status, WaitStatus::Exited(child, 0), "{text}");
        match text.split_at_checked(1) {
            Some(("+", report)) => Ok(report.to_owned()),
            Some(("-", error)) => Err(error.to_owned()),
            _ => panic!("the process in the container died: {text:?}"),
        }
    }

    fn in_namespaces(
        &self,
        spec: &Spec,
        (tell, ready): (PipeWriter, std::io::PipeReader),
        look: impl FnOnce(&Rootfs) -> String,
        mut into: &PipeWriter,
    ) -> Option<()> {
        unshare(CloneFlags::CLONE_NEWNS).ok()?;
        make_private();
        for act in &self.outside {
            act(&self.dir);
        }
        // What the launch's parent does comes first, with the host's rights.
        let sources = check(spec).and_then(|()| Sources::open(spec, &self.dir));
        let mut flags = CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
        let asked = self.config["linux"]["namespaces"].to_string();
        for (kind, flag) in [
            ("ipc", CloneFlags::CLONE_NEWIPC),
            ("uts", CloneFlags::CLONE_NEWUTS),
            ("network", CloneFlags::CLONE_NEWNET),
            ("user", CloneFlags::CLONE_NEWUSER),
            ("cgroup", CloneFlags::CLONE_NEWCGROUP),
        ] {
            if asked.contains(kind) {
                flags |= flag;
            }
        }
        unshare(flags).ok()?;
        (&tell).write_all(b"!").ok()?;
        (&ready).read_exact(&mut [0]).ok()?;
        if self.user_namespace {
            nix::unistd::setgid(0.into()).ok()?;
            nix::unistd::setuid(0.into()).ok()?;
        }
        let first = forked(|| {
            let outcome = sources.map_err(|error| chain(&error)).and_then(|sources| {
                let whole = std::panic::AssertUnwindSafe(|| self.set_up(spec, sources, look));
                std::panic::catch_unwind(whole).unwrap_or_else(|told| Err(panic_text(&*told)))
            });
            let text = match outcome {
                Ok(report) => format!("+{report}"),
                Err(error) => format!("-{error}"),
            };
            i32::from(into.write_all(text.as_bytes()).is_err())
        });
        let status = waitpid(first.ok()?, None).ok()?;
        matches!(status, WaitStatus::Exited(_, 0)).then_some(())
    }

    fn set_up(
        &self,
        spec: &Spec,
        sources: Sources,
        look: impl FnOnce(&Rootfs) -> String,
    ) -> Outcome {
        // Nothing that a test does may reach the host.
        make_private();
        for act in &self.before {
            act(&self.dir);
        }
        let rootfs = self.rootfs();
        let plan = Plan {
            spec,
            bundle: &self.dir,
            rootfs: &rootfs,
            sources: &sources,
            no_pivot: self.no_pivot,
            cgroup: self.cgroup,
            in_userns: self.user_namespace,
            mount_label: None,
        };
        let rootfs = Rootfs::mount(&plan).map_err(|error| chain(&error))?;
        rootfs.pivot().map_err(|error| chain(&error))?;
        rootfs.finish().map_err(|error| chain(&error))?;
        Ok(look(&rootfs))
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // All mounts were made in a namespace that is gone.
        fs::remove_dir_all(&self.dir).unwrap();
    }
}

fn make_private() {
    let private = MountAttr::propagation(libc::MS_PRIVATE);
    set_attributes_at(Path::new("/"), Reach::Tree, &private).unwrap();
}

/// The usual hook looks for the program's debug information, which is not in the container; and none can be set in a
/// child, whose other threads are gone with the locks they had.
fn quieten_children() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        let parent = std::process::id();
        std::panic::set_hook(Box::new(move |panic| {
            if std::process::id() == parent {
                usual(panic);
            }
        }));
    });
}

fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    format!("panic: {}", text.unwrap_or_default())
}

pub fn chain(error: &(dyn Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |&error| error.source());
    let texts: Vec<_> = chain.map(ToString::to_string).collect();
    texts.join(": ")
}

/// The flags and the type of the topmost mount at `path`, from mountinfo: `ro,nosuid tmpfs`, or nothing.
pub fn mounted(path: &str) -> String {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let found = text.lines().rev().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let fields: Vec<_> = mount.split(' ').collect();
        let fstype = filesystem.split(' ').next()?;
        let tags = fields[6..].join(" ");
        (fields[4] == path).then(|| format!("{} {fstype} {tags}", fields[5]))
    });
    found.unwrap_or_default().trim_end().to_owned()
}

/// What cannot be written to.
pub fn can_write(path: &str) -> bool {
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path);
    file.is_ok()
}
