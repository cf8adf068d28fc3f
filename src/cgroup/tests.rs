//! The whole on a kernel: cgroup v2 in a mount namespace of the test's own, cgroup v1 below a cgroup of the test's own in
//! the host's hierarchies.

use std::io::Write;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::{fs, process};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};
use oci_spec::runtime::LinuxResources;

use super::{Cgroup, CgroupError, Driver, Mode, Request};

/// A place for the cgroups of one test, removed with the test.
struct Place {
    parent: String,
}

impl Place {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self {
            parent: format!("/tandem-test-{}-{number}", process::id()),
        }
    }

    fn path(&self) -> PathBuf {
        Path::new(&self.parent).join("parent/container")
    }

    fn create(&self, resources: &str) -> Result<Cgroup, CgroupError> {
        let resources: LinuxResources = serde_json::from_str(resources).unwrap();
        Cgroup::create(&Request {
            id: "unused",
            path: Some(&self.path()),
            resources: Some(&resources),
            driver: Driver::Cgroupfs,
            owner: None,
        })
    }

    /// The directories of this place that are left in any hierarchy.
    fn left(&self) -> Vec<PathBuf> {
        let name = self.parent.trim_start_matches('/');
        let mut roots = vec![PathBuf::from("/sys/fs/cgroup")];
        for entry in fs::read_dir("/sys/fs/cgroup").unwrap() {
            roots.push(entry.unwrap().path());
        }
        let paths = roots.iter().map(|root| root.join(name));
        paths.filter(|path| path.exists()).collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for path in self.left() {
            for below in ["parent/container", "parent", ""] {
                drop(fs::remove_dir(path.join(below)));
            }
        }
    }
}

/// Runs `test` with cgroup v2 at /sys/fs/cgroup: the host's, or on a host with cgroup v1 one that is mounted in a mount
/// namespace of the test's own thread.
fn on_v2(test: impl FnOnce() + Send + 'static) {
    let isolated = move || {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        let point = "/sys/fs/cgroup";
        if statfs(point).unwrap().filesystem_type() != CGROUP2_SUPER_MAGIC {
            let none = MsFlags::empty();
            mount(Some("cgroup2"), point, Some("cgroup2"), none, None::<&str>).unwrap();
        }
        test();
    };
    if let Err(panic) = thread::spawn(isolated).join() {
        resume_unwind(panic);
    }
}

/// Runs `test` if the host has cgroup v1.
fn on_v1(test: impl FnOnce()) {
    match statfs("/sys/fs/cgroup").unwrap().filesystem_type() {
        CGROUP2_SUPER_MAGIC => eprintln!("skipped: this host has no cgroup v1"),
        _ => test(),
    }
}

/// A shell that runs `script` in `cgroup`.
fn shell(cgroup: &Cgroup, script: &str) -> Child {
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(format!("read go; {script}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    cgroup.add(pid(&child)).unwrap();
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    child
}

fn pid(child: &Child) -> i32 {
    i32::try_from(child.id()).unwrap()
}

fn output(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn value(cgroup: &Cgroup, file: &str) -> String {
    let controller = file.split('.').next().unwrap();
    let path = cgroup.dir_of(controller).unwrap().join(file);
    fs::read_to_string(path).unwrap().trim().to_owned()
}

/// In a cgroup with eight megabytes.
fn assert_memory_ends_processes(cgroup: &Cgroup) {
    let mut child = shell(
        cgroup,
        "head -c 50000000 /dev/zero | tail -c 50000000 >/dev/null",
    );
    child.wait().unwrap();
    assert!(cgroup.oom_kills().is_some_and(|kills| kills > 0));
}

fn the_life_of_a_cgroup(mode: Mode) {
    let place = Place::new();
    let mut cgroup = place.create("{}").unwrap();
    assert_eq!(cgroup.mode(), mode);
    assert_eq!(cgroup.birth_dir().is_some(), mode == Mode::V2);
    cgroup.keep();
    let record = serde_json::to_string(&cgroup.record()).unwrap();
    drop(cgroup);

    let cgroup = Cgroup::open(&serde_json::from_str(&record).unwrap());
    assert!(cgroup.exists());
    let mut child = shell(&cgroup, "sleep 1000 & wait");
    assert!(cgroup.pids().unwrap().contains(&pid(&child)));

    assert!(!cgroup.is_frozen().unwrap());
    cgroup.freeze().unwrap();
    assert!(cgroup.is_frozen().unwrap());
    cgroup.thaw().unwrap();
    assert!(!cgroup.is_frozen().unwrap());

    cgroup.kill(libc::SIGKILL).unwrap();
    child.wait().unwrap();
    cgroup.remove().unwrap();
    assert!(!cgroup.exists());
    assert_eq!(place.left(), [""; 0].map(PathBuf::from));
    // Once more is fine.
    cgroup.remove().unwrap();
    cgroup.kill(libc::SIGKILL).unwrap();
}

#[test]
#[ignore = "needs root: cgroups"]
fn a_v2_cgroup_lives_and_goes() {
    on_v2(|| the_life_of_a_cgroup(Mode::V2));
}

#[test]
#[ignore = "needs root: cgroups"]
fn a_v1_cgroup_lives_and_goes() {
    on_v1(|| the_life_of_a_cgroup(Mode::V1));
}

fn a_cgroup_that_is_not_kept_is_removed() {
    let place = Place::new();
    drop(place.create("{}").unwrap());
    assert_eq!(place.left(), [""; 0].map(PathBuf::from));
}

#[test]
#[ignore = "needs root: cgroups"]
fn a_v2_cgroup_that_is_not_kept_is_removed() {
    on_v2(a_cgroup_that_is_not_kept_is_removed);
}

#[test]
#[ignore = "needs root: cgroups"]
fn a_v1_cgroup_that_is_not_kept_is_removed() {
    on_v1(a_cgroup_that_is_not_kept_is_removed);
}

fn a_limit_that_fails_leaves_nothing(resources: &str, message: &str) {
    let place = Place::new();
    let error = place.create(resources).unwrap_err().to_string();
    assert!(error.contains(message), "{error}");
    assert_eq!(place.left(), [""; 0].map(PathBuf::from));
}

#[test]
#[ignore = "needs root: cgroups"]
fn a_v2_limit_that_fails_leaves_nothing() {
    on_v2(|| {
        a_limit_that_fails_leaves_nothing(
            r#"{"unified":{"nosuch.max":"1"}}"#,
            "controller \"nosuch\" not available",
        );
    });
}

#[test]
#[ignore = "needs root: cgroups"]
fn a_v1_limit_that_fails_leaves_nothing() {
    on_v1(|| {
        a_limit_that_fails_leaves_nothing(
            r#"{"cpu":{"cpus":"4000"}}"#,
            "cannot set linux.resources.cpu.cpus",
        );
    });
}

fn remove_kills_what_is_left_below() {
    let place = Place::new();
    let mut cgroup = place.create("{}").unwrap();
    cgroup.keep();
    let mut child = shell(&cgroup, "sleep 1000 & sleep 1001 & wait");
    for member in &cgroup.record().members {
        let below = member.path.join("below");
        fs::create_dir(&below).unwrap();
        // cpuset of v1 takes nobody before it has CPUs; the others do.
        drop(fs::write(
            below.join("cgroup.procs"),
            child.id().to_string(),
        ));
    }
    assert!(cgroup.pids().unwrap().contains(&pid(&child)));
    // The parent has to reap it, or it stays as a zombie, which holds no cgroup of v2 but one of v1.
    let reaper = thread::spawn(move || child.wait().unwrap());
    cgroup.remove().unwrap();
    reaper.join().unwrap();
    assert_eq!(place.left(), [""; 0].map(PathBuf::from));
}

#[test]
#[ignore = "needs root: cgroups"]
fn remove_kills_what_is_left_below_on_v2() {
    on_v2(remove_kills_what_is_left_below);
}

#[test]
#[ignore = "needs root: cgroups"]
fn remove_kills_what_is_left_below_on_v1() {
    on_v1(remove_kills_what_is_left_below);
}

fn a_used_cgroup_is_refused() {
    let place = Place::new();
    let first = place.create("{}").unwrap();
    let second = place.create("{}").unwrap();
    drop(second);
    assert!(
        first.exists(),
        "an empty cgroup is taken over and not removed by who did not make it"
    );
    let mut child = shell(&first, "exec sleep 1000");
    let error = place.create("{}").unwrap_err().to_string();
    assert!(
        error.contains("container's cgroup is not empty: "),
        "{error}"
    );
    first.kill(libc::SIGKILL).unwrap();
    child.wait().unwrap();
    first.freeze().unwrap();
    let error = place.create("{}").unwrap_err().to_string();
    assert!(error.contains("unexpectedly frozen"), "{error}");
    first.thaw().unwrap();
    drop(first);
    assert_eq!(place.left(), [""; 0].map(PathBuf::from));
}

#[test]
#[ignore = "needs root: cgroups"]
fn a_used_v2_cgroup_is_refused() {
    on_v2(a_used_cgroup_is_refused);
}

#[test]
#[ignore = "needs root: cgroups"]
fn a_used_v1_cgroup_is_refused() {
    on_v1(a_used_cgroup_is_refused);
}

/// Tries devices from inside: the letters of those accesses that passed.
const PROBE: &str = "
    (: </dev/null) 2>/dev/null && printf n
    (: >/dev/full) 2>/dev/null && printf f
    rm -f \"$PROBE\"; mknod \"$PROBE\" c 10 229 2>/dev/null && printf m
    (: <\"$PROBE\") 2>/dev/null && printf o
    rm -f \"$PROBE\"
    exit 0";

fn device_rules_hold(mode: Mode) {
    let node = std::env::temp_dir().join(format!("tandem-device-{}-{mode:?}", process::id()));
    let script = format!("PROBE={}; {PROBE}", node.display());
    let passed = |rules: &str| {
        let place = Place::new();
        let cgroup = place.create(&format!(r#"{{"devices":{rules}}}"#)).unwrap();
        output(shell(&cgroup, &script))
    };
    let deny_all = r#"{"allow":false,"access":"rwm"}"#;
    assert_eq!(passed(&format!("[{deny_all}]")), "nfm");
    let full = r#"{"allow":false,"type":"c","major":1,"minor":7,"access":"rw"}"#;
    assert_eq!(passed(&format!("[{deny_all},{full}]")), "nm");
}

#[test]
#[ignore = "needs root: cgroups"]
fn device_rules_hold_on_v2() {
    on_v2(|| device_rules_hold(Mode::V2));
}

#[test]
#[ignore = "needs root: cgroups"]
fn device_rules_hold_on_v1() {
    on_v1(|| device_rules_hold(Mode::V1));
}

#[test]
#[ignore = "needs root: cgroups"]
fn v1_limits_are_what_the_kernel_has_then() {
    on_v1(|| {
        let place = Place::new();
        let cgroup = place
            .create(
                r#"{"memory":{"limit":67108864,"swap":134217728,"reservation":33554432},
                    "cpu":{"shares":512,"quota":50000,"period":100000,"cpus":"0","mems":"0"},
                    "pids":{"limit":20}}"#,
            )
            .unwrap();
        for (file, expected) in [
            ("memory.limit_in_bytes", "67108864"),
            ("memory.memsw.limit_in_bytes", "134217728"),
            ("memory.soft_limit_in_bytes", "33554432"),
            ("cpu.shares", "512"),
            ("cpu.cfs_quota_us", "50000"),
            ("cpu.cfs_period_us", "100000"),
            ("cpuset.cpus", "0"),
            ("pids.max", "20"),
        ] {
            assert_eq!(value(&cgroup, file), expected, "{file}");
        }
        let update = |resources: &str| {
            let resources: LinuxResources = serde_json::from_str(resources).unwrap();
            cgroup.update(&resources)
        };
        update(r#"{"memory":{"limit":268435456,"swap":536870912}}"#).unwrap();
        assert_eq!(value(&cgroup, "memory.limit_in_bytes"), "268435456");
        update(r#"{"memory":{"limit":33554432,"swap":33554432}}"#).unwrap();
        assert_eq!(value(&cgroup, "memory.memsw.limit_in_bytes"), "33554432");
        update(r#"{"memory":{"limit":-1},"pids":{"limit":-1},"cpu":{"quota":-1}}"#).unwrap();
        assert_eq!(value(&cgroup, "pids.max"), "max");
        assert_eq!(value(&cgroup, "cpu.cfs_quota_us"), "-1");
        // A quota and a period whose ratio the old quota would not allow.
        update(r#"{"cpu":{"quota":3000,"period":4000}}"#).unwrap();
        assert_eq!(value(&cgroup, "cpu.cfs_period_us"), "4000");
        let error = update(r#"{"cpu":{"shares":1}}"#).unwrap_err().to_string();
        assert_eq!(error, "the minimum allowed cpu-shares is 2");
        assert_eq!(value(&cgroup, "cpu.cfs_quota_us"), "3000", "left as it was");
        assert_eq!(cgroup.oom_kills(), Some(0));
        update(r#"{"memory":{"limit":8388608,"swap":8388608}}"#).unwrap();
        assert_memory_ends_processes(&cgroup);
    });
}

#[test]
#[ignore = "needs root: cgroups"]
fn a_missing_v1_hierarchy_is_an_error_only_for_its_limit() {
    on_v1(|| {
        if Path::new("/sys/fs/cgroup/rdma").exists() {
            return;
        }
        let place = Place::new();
        drop(place.create("{}").unwrap());
        let error = place
            .create(r#"{"rdma":{"mlx5_0":{"hcaHandles":1}}}"#)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("cannot set linux.resources.rdma: controller \"rdma\" not available"),
            "{error}"
        );
    });
}

#[test]
#[ignore = "needs root: cgroups"]
fn v2_limits_are_what_the_kernel_has_then() {
    on_v2(|| {
        let place = Place::new();
        let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap();
        let cgroup = place.create("{}").unwrap();
        let enabled = value(&cgroup, "cgroup.controllers");
        assert_eq!(enabled, controllers.trim(), "all of the host's are there");
        if !controllers.contains("hugetlb") {
            return;
        }
        drop(cgroup);
        let cgroup = place
            .create(r#"{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}"#)
            .unwrap();
        assert_eq!(value(&cgroup, "hugetlb.2MB.max"), "4194304");
        assert_eq!(value(&cgroup, "hugetlb.2MB.rsvd.max"), "4194304");
    });
}

#[test]
#[ignore = "needs root: cgroups"]
fn a_v2_cgroup_can_be_given_to_a_user() {
    use std::os::unix::fs::MetadataExt;
    on_v2(|| {
        let place = Place::new();
        let cgroup = Cgroup::create(&Request {
            id: "unused",
            path: Some(&place.path()),
            resources: None,
            driver: Driver::Cgroupfs,
            owner: Some(1234),
        })
        .unwrap();
        let owner = |name: &str| {
            let path = cgroup.dir_of("cgroup").unwrap().join(name);
            fs::metadata(path).unwrap().uid()
        };
        assert_eq!(owner("."), 1234);
        assert_eq!(owner("cgroup.procs"), 1234);
        assert_eq!(owner("cgroup.max.depth"), 0);
    });
}

#[test]
#[ignore = "needs root: cgroups"]
fn exec_goes_below_the_container() {
    on_v2(|| {
        let place = Place::new();
        let mut cgroup = place.create("{}").unwrap();
        cgroup.keep();
        let container = place.path();
        let below = Path::new("/sys/fs/cgroup").join(container.strip_prefix("/").unwrap());
        fs::create_dir(below.join("sub")).unwrap();
        assert!(cgroup.exec_target(&[]).unwrap().birth_dir().is_some());
        assert!(cgroup.exec_target(&["sub".into()]).is_ok());
        let error = cgroup.exec_target(&["none".into()]).unwrap_err();
        let message = error.to_string();
        assert!(message.contains(" adding pid "), "{message}");
        assert!(message.ends_with("/none/cgroup.procs"), "{message}");

        let mut child = shell(&cgroup, "exec sleep 1000");
        fs::write(below.join("sub/cgroup.procs"), child.id().to_string()).unwrap();
        assert!(
            cgroup
                .target_beside(pid(&child))
                .unwrap()
                .birth_dir()
                .is_some()
        );
        assert!(cgroup.target_beside(1).is_err());
        cgroup.kill(libc::SIGKILL).unwrap();
        child.wait().unwrap();
        cgroup.remove().unwrap();
    });
}

#[test]
#[ignore = "needs root: cgroups"]
fn a_device_program_is_replaced_and_not_added() {
    use crate::sys::bpf::attached_device_programs;
    on_v2(|| {
        let place = Place::new();
        let first = place.create("{}").unwrap();
        // The cgroup is empty, so another container may have it.
        let second = place.create("{}").unwrap();
        let attached = attached_device_programs(second.birth_dir().unwrap()).unwrap();
        assert_eq!(attached.len(), 1);
        assert_eq!(&attached[0].1, b"tandem_devices\0\0");
        drop((second, first));
    });
}

#[test]
#[ignore = "needs root: cgroups"]
fn below_a_threaded_cgroup_a_container_is_threaded_or_refused() {
    on_v2(|| {
        let place = Place::new();
        let parent = Path::new("/sys/fs/cgroup")
            .join(place.parent.trim_start_matches('/'))
            .join("parent");
        fs::create_dir_all(parent.join("other")).unwrap();
        fs::write(parent.join("other/cgroup.type"), "threaded").unwrap();

        let cgroup = place.create("{}").unwrap();
        assert_eq!(value(&cgroup, "cgroup.type"), "threaded");
        drop(cgroup);
        if fs::read_to_string("/sys/fs/cgroup/cgroup.controllers")
            .unwrap()
            .contains("hugetlb")
        {
            let error = place
                .create(r#"{"hugepageLimits":[{"pageSize":"2MB","limit":0}]}"#)
                .unwrap_err()
                .to_string();
            assert!(error.contains("is in domain invalid mode"), "{error}");
        }
        fs::remove_dir(parent.join("other")).unwrap();
    });
}

fn containers_come_and_go_below_one_parent() {
    let parent = Place::new();
    let come_and_go = |name: &str| {
        for round in 0..20 {
            let path = format!("{}/parent/{name}-{round}", parent.parent);
            let mut cgroup = Cgroup::create(&Request {
                id: "unused",
                path: Some(Path::new(&path)),
                resources: None,
                driver: Driver::Cgroupfs,
                owner: None,
            })
            .unwrap();
            cgroup.keep();
            cgroup.remove().unwrap();
        }
    };
    thread::scope(|scope| {
        for name in ["a", "b", "c", "d"] {
            scope.spawn(move || come_and_go(name));
        }
    });
}

/// Each removal of a parent races with the next container's making of it.
#[test]
#[ignore = "needs root: cgroups"]
fn containers_come_and_go_below_one_parent_on_v2() {
    on_v2(containers_come_and_go_below_one_parent);
}

#[test]
#[ignore = "needs root: cgroups"]
fn containers_come_and_go_below_one_parent_on_v1() {
    on_v1(containers_come_and_go_below_one_parent);
}

fn a_forking_container_is_frozen_and_killed() {
    let place = Place::new();
    let mut cgroup = place.create(r#"{"pids":{"limit":0}}"#).unwrap();
    cgroup.keep();
    let mut child = shell(&cgroup, "while :; do (:); (:) & done");
    for _ in 0..10 {
        cgroup.freeze().unwrap();
        let before = cgroup.pids().unwrap();
        assert_eq!(cgroup.pids().unwrap(), before, "nothing runs");
        cgroup.thaw().unwrap();
    }
    cgroup.kill(libc::SIGKILL).unwrap();
    child.wait().unwrap();
    cgroup.remove().unwrap();
    assert_eq!(place.left(), [""; 0].map(PathBuf::from));
}

#[test]
#[ignore = "needs root: cgroups"]
fn a_forking_container_is_frozen_and_killed_on_v2() {
    on_v2(a_forking_container_is_frozen_and_killed);
}

#[test]
#[ignore = "needs root: cgroups"]
fn a_forking_container_is_frozen_and_killed_on_v1() {
    on_v1(a_forking_container_is_frozen_and_killed);
}

/// Where the kernel has all controllers on v2; a hybrid host has them on v1.
#[test]
#[ignore = "needs root: cgroups"]
fn v2_limits_of_all_controllers_are_what_the_kernel_has_then() {
    on_v2(|| {
        let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap();
        let wanted = ["cpu", "memory", "pids"];
        if !wanted
            .iter()
            .all(|controller| controllers.contains(controller))
        {
            eprintln!("skipped: cgroup v2 has only {controllers:?} here");
            return;
        }
        let place = Place::new();
        let cgroup = place
            .create(
                r#"{"memory":{"limit":67108864,"swap":67108864,"reservation":33554432},
                    "cpu":{"shares":1024,"quota":50000,"period":100000,"burst":1000},
                    "pids":{"limit":20},"unified":{"memory.high":"60000000"}}"#,
            )
            .unwrap();
        for (file, expected) in [
            ("memory.max", "67108864"),
            ("memory.low", "33554432"),
            ("memory.high", "59998208"),
            ("cpu.weight", "100"),
            ("cpu.max", "50000 100000"),
            ("pids.max", "20"),
        ] {
            assert_eq!(value(&cgroup, file), expected, "{file}");
        }
        let update = |resources: &str| {
            let resources: LinuxResources = serde_json::from_str(resources).unwrap();
            cgroup.update(&resources)
        };
        update(r#"{"cpu":{"period":200000},"memory":{"limit":-1},"pids":{"limit":-1}}"#).unwrap();
        assert_eq!(value(&cgroup, "cpu.max"), "50000 200000");
        assert_eq!(value(&cgroup, "memory.max"), "max");
        assert_eq!(value(&cgroup, "pids.max"), "max");
        assert_eq!(cgroup.oom_kills(), Some(0));
        update(r#"{"memory":{"limit":8388608,"swap":8388608}}"#).unwrap();
        assert_memory_ends_processes(&cgroup);
    });
}

#[test]
#[ignore = "needs root: cgroups"]
fn remove_kills_who_is_left_in_one_v1_hierarchy_alone() {
    on_v1(|| {
        let place = Place::new();
        let mut cgroup = place.create("{}").unwrap();
        cgroup.keep();
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let procs = cgroup.dir_of("pids").unwrap().join("cgroup.procs");
        fs::write(procs, child.id().to_string()).unwrap();
        let reaper = thread::spawn(move || child.wait().unwrap());
        cgroup.remove().unwrap();
        reaper.join().unwrap();
        assert_eq!(place.left(), [""; 0].map(PathBuf::from));
    });
}
