//! A bundle with busybox as its image, and the calls of `tandem` for it.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::leftovers::Leftovers;
use super::wait::LIMIT;
use super::world::{Hierarchy, World};
use super::{Bell, Outcome, TANDEM};

/// The applets that the tests use.
const APPLETS: &[&str] = &[
    "awk", "cat", "chmod", "cut", "date", "dd", "echo", "env", "false", "grep", "hostname", "id",
    "kill", "ln", "ls", "mkdir", "mkfifo", "mknod", "mount", "ps", "pwd", "readlink", "rm", "sh",
    "sleep", "sort", "stat", "stty", "test", "touch", "tr", "true", "tty", "umount", "wc",
];

/// A place on a file system of its own with a bundle in it, and containers made from that.
///
/// When it is dropped every container is deleted, and a test that went well fails after all if anything was left.
#[derive(Debug)]
pub struct TestBundle {
    /// The config.json to be, written before each call.
    pub config: Value,
    /// The id that the calls without one use.
    pub id: String,
    /// Options before the subcommand.
    pub options: Vec<String>,
    place: PathBuf,
    leftovers: Leftovers,
    world: World,
}

impl TestBundle {
    /// A container that runs `true` in new namespaces of the usual kinds, on cgroup v2.
    pub fn minimal() -> Self {
        Self::on(Hierarchy::V2)
    }

    pub fn on(hierarchy: Hierarchy) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let world = World::enter(hierarchy);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tandem-test-{}-{number}", std::process::id());
        let place = std::env::temp_dir().join(&name);
        fs::create_dir(&place).unwrap();
        let options = Some("mode=755,size=64m");
        mount(
            Some("tmpfs"),
            &place,
            Some("tmpfs"),
            MsFlags::empty(),
            options,
        )
        .unwrap();
        make_image(&place.join("rootfs"));
        let leftovers = Leftovers::watch(&world, &format!("{name}."), &place.join("state"));
        let id = "one".to_owned();
        Self {
            config: config(&format!("/{name}.{id}")),
            id,
            options: Vec::new(),
            place,
            leftovers,
            world,
        }
    }

    pub fn args<const N: usize>(mut self, args: [&str; N]) -> Self {
        self.config["process"]["args"] = args.as_slice().into();
        self
    }

    /// The container's process is this script.
    pub fn script(self, script: &str) -> Self {
        self.args(["sh", "-c", script])
    }

    /// Changes the config, with a JSON pointer to what is set; objects on the way are made.
    pub fn with(mut self, pointer: &str, value: Value) -> Self {
        self.set(pointer, value);
        self
    }

    pub fn set(&mut self, pointer: &str, value: Value) {
        let mut target = &mut self.config;
        for key in pointer.trim_start_matches('/').split('/') {
            target = match key.parse::<usize>() {
                Ok(index) => &mut target[index],
                Err(_) => &mut target[key],
            };
        }
        *target = value;
    }

    /// Adds to a list of the config.
    pub fn adding(mut self, pointer: &str, value: Value) -> Self {
        let list = self.config.pointer_mut(pointer).unwrap();
        list.as_array_mut().unwrap().push(value);
        self
    }

    /// Leaves out a namespace, to share the host's.
    pub fn sharing(mut self, kind: &str) -> Self {
        self.namespaces()
            .retain(|namespace| namespace["type"] != kind);
        self
    }

    pub fn namespaces(&mut self) -> &mut Vec<Value> {
        self.config["linux"]["namespaces"].as_array_mut().unwrap()
    }

    /// Prepares the root file system before anything runs.
    pub fn image(self, prepare: impl FnOnce(&Path)) -> Self {
        prepare(&self.rootfs());
        self
    }

    pub fn rootfs(&self) -> PathBuf {
        self.path("rootfs")
    }

    /// A path beside the bundle's files.
    pub fn path(&self, name: &str) -> PathBuf {
        self.place.join(name)
    }

    pub fn state_root(&self) -> PathBuf {
        self.path("state")
    }

    /// A FIFO `/NAME` of the container.
    pub fn bell(&self, name: &str) -> Bell {
        Bell::hang(&self.rootfs().join(name))
    }

    /// Another id, with a cgroup of its own, for the calls from here on.
    pub fn rename(&mut self, id: &str) {
        let path = self.config["linux"]["cgroupsPath"].as_str().unwrap();
        let path = format!("{}.{id}", path.rsplit_once('.').unwrap().0);
        self.set("/linux/cgroupsPath", path.into());
        id.clone_into(&mut self.id);
    }

    /// Whether the hierarchy of this test has the controller.
    pub fn controller(&self, name: &str) -> bool {
        match self.world.hierarchy {
            Hierarchy::V1 => Path::new("/sys/fs/cgroup").join(name).exists(),
            Hierarchy::V2 => {
                let text = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap();
                text.split_whitespace().any(|controller| controller == name)
            }
        }
    }

    /// The processes of the test's containers, and of `tandem`.
    pub fn processes(&self) -> Vec<i32> {
        self.leftovers.processes()
    }

    /// The directories of the test's cgroups.
    pub fn cgroups(&self) -> Vec<String> {
        self.leftovers.cgroups()
    }

    /// Takes what the test itself has mounted by now for granted.
    pub fn accepting_mounts(mut self) -> Self {
        self.leftovers.accept_mounts();
        self
    }

    /// What is left of containers now.
    pub fn left(&self) -> Vec<String> {
        self.leftovers.found()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        fs::write(self.path("config.json"), self.config.to_string()).unwrap();
        let mut command = Command::new(TANDEM);
        command
            .current_dir(&self.place)
            .arg("--root")
            .arg(self.state_root())
            .args(&self.options)
            .args(arguments);
        command
    }

    /// A call that keeps its standard output and error to itself until it ends.
    pub fn tandem(&self, arguments: &[&str]) -> Outcome {
        self.finish(self.command(arguments))
    }

    pub fn finish(&self, mut command: Command) -> Outcome {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        self.wait(child.unwrap())
    }

    /// Waits for a child; should it hang, it and its containers are killed, so that the test fails instead.
    pub fn wait(&self, child: Child) -> Outcome {
        let (done, ended) = mpsc::channel::<()>();
        let pid = i32::try_from(child.id()).unwrap();
        std::thread::scope(|scope| {
            // It inherits our mount namespace.
            scope.spawn(|| {
                let limit = Duration::from_millis(u64::from(LIMIT) * 2);
                if ended.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                    for pid in self.leftovers.processes().into_iter().chain([pid]) {
                        // It may have ended meanwhile.
                        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap_or(());
                    }
                }
                drop(ended);
            });
            let output = child.wait_with_output().unwrap();
            drop(done);
            output.into()
        })
    }

    /// A call that leaves a container behind, which keeps the descriptors: they are files, to be read by `output`.
    pub fn detached(&self, arguments: &[&str]) -> Outcome {
        self.finish_detached(self.command(arguments))
    }

    pub fn finish_detached(&self, mut command: Command) -> Outcome {
        let open = |name: &str| {
            let mut options = File::options();
            options.create(true).append(true).read(true);
            options.open(self.path(name)).unwrap()
        };
        let (out, err) = (open("stdout"), open("stderr"));
        let skip = (out.metadata().unwrap().len(), err.metadata().unwrap().len());
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn();
        let mut outcome = self.wait(child.unwrap());
        let rest = |name, skip| {
            let bytes = fs::read(self.path(name)).unwrap();
            String::from_utf8_lossy(&bytes[usize::try_from(skip).unwrap()..]).into_owned()
        };
        (outcome.stdout, outcome.stderr) = (rest("stdout", skip.0), rest("stderr", skip.1));
        outcome
    }

    /// What the detached calls and their containers have printed so far.
    pub fn output(&self) -> String {
        fs::read_to_string(self.path("stdout")).unwrap()
    }

    pub fn run(&self) -> Outcome {
        self.tandem(&["run", &self.id])
    }

    pub fn create(&self) -> Outcome {
        self.detached(&["create", &self.id])
    }

    pub fn start(&self) -> Outcome {
        self.tandem(&["start", &self.id])
    }

    pub fn run_detached(&self) -> Outcome {
        self.detached(&["run", "-d", &self.id])
    }

    /// A running container that does nothing for as long as the test lasts.
    pub fn running() -> Self {
        let bundle = Self::minimal().args(["sleep", "1000"]);
        bundle.run_detached().ok();
        bundle
    }

    /// `exec` of a command in the container, in the foreground.
    pub fn exec(&self, arguments: &[&str]) -> Outcome {
        self.exec_with(&[], arguments)
    }

    pub fn exec_with(&self, options: &[&str], arguments: &[&str]) -> Outcome {
        let id = [self.id.as_str()];
        self.tandem(&[&["exec"][..], options, &id, arguments].concat())
    }

    /// `exec` of a script.
    pub fn exec_script(&self, script: &str) -> Outcome {
        self.exec(&["sh", "-c", script])
    }

    pub fn delete(&self) -> Outcome {
        self.tandem(&["delete", &self.id])
    }

    pub fn state(&self) -> Value {
        let outcome = self.tandem(&["state", &self.id]);
        serde_json::from_str(outcome.ok()).unwrap()
    }

    pub fn status(&self) -> String {
        self.state()["status"].as_str().unwrap().to_owned()
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.state()["pid"].as_i64().unwrap()).unwrap()
    }
}

impl Drop for TestBundle {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            self.leftovers.end();
        }
        let ids = self.tandem(&["list", "-q"]).stdout;
        let outcomes: Vec<_> = ids
            .lines()
            .map(|id| self.tandem(&["delete", "--force", id]))
            .collect();
        let left = self.leftovers.found();
        if !left.is_empty() {
            self.leftovers.end();
        }
        umount2(&self.place, MntFlags::MNT_DETACH).unwrap();
        fs::remove_dir(&self.place).unwrap();
        if !failed {
            for outcome in outcomes {
                outcome.ok();
            }
            assert_eq!(left, [""; 0], "left behind");
        }
    }
}

pub fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Makes a file that can be executed at once.
pub fn install(content: &[u8], path: &Path) {
    let staged = path.with_extension("staged");
    fs::write(&staged, content).unwrap();
    copy_program(&staged, path);
    fs::remove_file(staged).unwrap();
}

/// By another process: were the file open for writing here, a child of another thread could inherit the descriptor for
/// a moment, and whoever executes the file in that moment gets ETXTBSY.
fn copy_program(from: &Path, to: &Path) {
    let copied = Command::new("cp").args([from, to]).status();
    assert!(copied.unwrap().success());
    set_mode(to, 0o755);
}

fn make_image(rootfs: &Path) {
    for directory in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
        fs::create_dir_all(rootfs.join(directory)).unwrap();
    }
    let busybox = rootfs.join("bin/busybox");
    let host = ["/bin/busybox", "/usr/bin/busybox"]
        .iter()
        .find(|path| Path::new(path).exists())
        .expect("these tests need the package busybox-static");
    copy_program(Path::new(host), &busybox);
    for applet in APPLETS {
        symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
    }
}

fn config(cgroup: &str) -> Value {
    let capabilities = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.2.0",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["true"],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": {
                "bounding": capabilities,
                "effective": capabilities,
                "permitted": capabilities,
            },
            "noNewPrivileges": true,
        },
        "root": {"path": "rootfs"},
        "hostname": "test",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {
                "destination": "/dev",
                "type": "tmpfs",
                "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=64k"],
            },
            {
                "destination": "/dev/pts",
                "type": "devpts",
                "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
            },
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
            "namespaces": [
                {"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
                {"type": "cgroup"},
            ],
        },
    })
}
