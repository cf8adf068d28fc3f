//! `update`

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources};

use super::Subcommand;
use super::size::{self, BadSize};
use crate::bundle;
use crate::cli::Outcome;
use crate::lifecycle::{self, ContainerId, Runtime};

#[derive(Debug, Args)]
pub(super) struct Update {
    /// file with the limits as JSON, in the form of config.json's "linux.resources"; - reads standard input
    /// (then the options below are not used)
    #[arg(long, short)]
    resources: Option<PathBuf>,
    /// weight of block input and output (10 to 1000)
    #[arg(long, default_value = "0")]
    blkio_weight: u16,
    /// period of the CPU quota, in microseconds
    #[arg(long)]
    cpu_period: Option<String>,
    /// CPU time that may be used in a period, in microseconds; -1 for no limit
    #[arg(long)]
    cpu_quota: Option<String>,
    /// CPU time that may be saved up for later periods, in microseconds
    #[arg(long)]
    cpu_burst: Option<String>,
    /// CPU shares, relative to other containers
    #[arg(long)]
    cpu_share: Option<String>,
    /// period of the real-time quota, in microseconds (cgroup v1)
    #[arg(long)]
    cpu_rt_period: Option<String>,
    /// real-time that may be used in a period, in microseconds (cgroup v1)
    #[arg(long)]
    cpu_rt_runtime: Option<String>,
    /// CPUs that may be used, such as 0-2,4
    #[arg(long)]
    cpuset_cpus: Option<String>,
    /// memory nodes that may be used
    #[arg(long)]
    cpuset_mems: Option<String>,
    /// 1: run only when nothing else wants the CPU; 0: not so
    #[arg(long)]
    cpu_idle: Option<String>,
    /// (no effect: kernel memory counts as memory)
    #[arg(long, hide = true)]
    kernel_memory: Option<String>,
    /// (no effect: kernel memory counts as memory)
    #[arg(long, hide = true)]
    kernel_memory_tcp: Option<String>,
    /// memory limit, such as 512M; -1 for no limit
    #[arg(long)]
    memory: Option<String>,
    /// memory that is left to the container when it gets short, such as 256M
    #[arg(long)]
    memory_reservation: Option<String>,
    /// limit of memory and swap together; -1 for no limit
    #[arg(long)]
    memory_swap: Option<String>,
    /// most processes and threads; -1 for no limit
    #[arg(long, default_value = "0")]
    pids_limit: i64,
    /// Intel RDT schema of the L3 cache
    #[arg(long)]
    l3_cache_schema: Option<String>,
    /// Intel RDT schema of the memory bandwidth
    #[arg(long)]
    mem_bw_schema: Option<String>,
    id: String,
}

/// Why the limits could not be understood.
#[derive(Debug, thiserror::Error)]
enum UpdateError {
    #[error("cannot read the limits from {path:?}")]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot parse the limits in {path:?}")]
    Parse {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("invalid value for {option}: {text:?} is not a number in range")]
    Number { option: &'static str, text: String },
    #[error("invalid value for {option}")]
    Size {
        option: &'static str,
        source: BadSize,
    },
    #[error("{what} is not enabled ({option} cannot be used)")]
    Rdt {
        what: &'static str,
        option: &'static str,
    },
}

fn number<T: FromStr>(
    option: &'static str,
    text: Option<&String>,
) -> Result<Option<T>, UpdateError> {
    let parse = |text: &String| {
        text.parse().map_err(|_error| UpdateError::Number {
            option,
            text: text.clone(),
        })
    };
    text.map(parse).transpose()
}

fn bytes(option: &'static str, text: Option<&String>) -> Result<Option<i64>, UpdateError> {
    let parse =
        |text: &String| size::parse(text).map_err(|source| UpdateError::Size { option, source });
    text.map(parse).transpose()
}

impl Update {
    fn resources(&self) -> Result<LinuxResources, UpdateError> {
        let mut resources = match &self.resources {
            Some(path) => read(path)?,
            None => self.of_options()?,
        };
        complete(&mut resources);
        Ok(resources)
    }

    fn of_options(&self) -> Result<LinuxResources, UpdateError> {
        let mut cpu = LinuxCpu::default();
        cpu.set_cpus(self.cpuset_cpus.clone())
            .set_mems(self.cpuset_mems.clone())
            .set_idle(number("cpu-idle", self.cpu_idle.as_ref())?)
            .set_burst(number("cpu-burst", self.cpu_burst.as_ref())?)
            .set_period(number("cpu-period", self.cpu_period.as_ref())?)
            .set_realtime_period(number("cpu-rt-period", self.cpu_rt_period.as_ref())?)
            .set_shares(number("cpu-share", self.cpu_share.as_ref())?)
            .set_quota(number("cpu-quota", self.cpu_quota.as_ref())?)
            .set_realtime_runtime(number("cpu-rt-runtime", self.cpu_rt_runtime.as_ref())?);
        let kernel = bytes("kernel-memory", self.kernel_memory.as_ref())?;
        let kernel_tcp = bytes("kernel-memory-tcp", self.kernel_memory_tcp.as_ref())?;
        if kernel.is_some() || kernel_tcp.is_some() {
            tracing::warn!("Kernel memory settings are ignored and will be removed");
        }
        let mut memory = LinuxMemory::default();
        memory
            .set_limit(bytes("memory", self.memory.as_ref())?)
            .set_swap(bytes("memory-swap", self.memory_swap.as_ref())?)
            .set_reservation(bytes(
                "memory-reservation",
                self.memory_reservation.as_ref(),
            )?);
        let mut io = LinuxBlockIo::default();
        io.set_weight(Some(self.blkio_weight).filter(|&weight| weight != 0));
        let mut pids = LinuxPids::default();
        pids.set_limit(self.pids_limit);

        let mut resources = LinuxResources::default();
        resources
            .set_devices(None)
            .set_cpu(Some(cpu))
            .set_memory(Some(memory))
            .set_block_io(Some(io))
            .set_pids(Some(pids));
        Ok(resources)
    }

    /// config.json's `linux.intelRdt` is refused, so no container has a group whose schemata could be changed.
    fn refuse_rdt(&self) -> Result<(), UpdateError> {
        let given = [
            (
                &self.l3_cache_schema,
                "Intel RDT/CAT: l3 cache schema",
                "--l3-cache-schema",
            ),
            (
                &self.mem_bw_schema,
                "Intel RDT/MBA: memory bandwidth schema",
                "--mem-bw-schema",
            ),
        ];
        match given.into_iter().find(|(schema, ..)| schema.is_some()) {
            Some((_, what, option)) => Err(UpdateError::Rdt { what, option }),
            None => Ok(()),
        }
    }
}

fn read(path: &Path) -> Result<LinuxResources, UpdateError> {
    let mut text = Vec::new();
    let read = match path.as_os_str().as_encoded_bytes() {
        b"-" => io::stdin().lock().read_to_end(&mut text),
        _ => File::open(path).and_then(|mut file| file.read_to_end(&mut text)),
    };
    read.map_err(|source| UpdateError::Read {
        path: path.into(),
        source,
    })?;
    bundle::parse_resources(&text).map_err(|source| UpdateError::Parse {
        path: path.into(),
        source,
    })
}

/// To lift the memory limit lifts that of swap, too: a limit for both together would stay below the one for memory.
fn complete(resources: &mut LinuxResources) {
    let Some(mut memory) = resources.memory().as_ref().copied() else {
        return;
    };
    if memory.limit() == Some(-1) && memory.swap().is_none() {
        memory.set_swap(Some(-1));
        resources.set_memory(Some(memory));
    }
}

impl Subcommand for Update {
    const NAME: &'static str = "update";
    const ABOUT: &'static str = "change the limits of a container";
    const OPERANDS: &'static str = "<container-id>";
    const COUNT: (usize, usize) = (1, 1);
    const DETAILS: &'static str = "\
Changes what is given and leaves the other limits as they are. With --resources
the limits come as JSON, of which every part may be left out:
  {\"memory\": {\"limit\": 0, \"reservation\": 0, \"swap\": 0, \"checkBeforeUpdate\": true},
   \"cpu\": {\"shares\": 0, \"quota\": 0, \"burst\": 0, \"period\": 0, \"realtimeRuntime\": 0,
           \"realtimePeriod\": 0, \"cpus\": \"\", \"mems\": \"\", \"idle\": 0},
   \"blockIO\": {\"weight\": 0}, \"pids\": {\"limit\": 0}, \"unified\": {\"FILE\": \"VALUE\"}}
Device rules stay as they are.";

    fn run(self, runtime: &Runtime) -> Outcome {
        let id = ContainerId::parse(&self.id)?;
        self.refuse_rdt()?;
        let resources = self.resources()?;
        lifecycle::update(runtime, &id, &resources)?;
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::command::Entry;
    use clap::FromArgMatches;
    use std::ffi::OsStr;

    fn resources(options: &[&str]) -> Result<LinuxResources, UpdateError> {
        let entry = Entry::find(OsStr::new("update")).unwrap();
        let line = [&["update"], options, &["id"]].concat();
        let matches = entry.definitions().try_get_matches_from(line).unwrap();
        Update::from_arg_matches(&matches).unwrap().resources()
    }

    #[test]
    fn what_is_not_given_stays_unset() {
        let given = resources(&["--cpu-share=200"]).unwrap();
        let cpu = given.cpu().as_ref().unwrap();
        assert_eq!(cpu.shares(), Some(200));
        assert_eq!((cpu.quota(), cpu.period(), cpu.idle()), (None, None, None));
        assert_eq!(given.memory().unwrap().limit(), None);
        assert_eq!(given.pids().unwrap().limit(), 0);
        assert!(given.devices().is_none());
    }

    #[test]
    fn no_memory_limit_means_no_swap_limit_either() {
        let memory = resources(&["--memory=-1"]).unwrap().memory().unwrap();
        assert_eq!((memory.limit(), memory.swap()), (Some(-1), Some(-1)));
        let memory = resources(&["--memory=50M"]).unwrap().memory().unwrap();
        assert_eq!((memory.limit(), memory.swap()), (Some(50 << 20), None));
    }

    #[test]
    fn a_bad_value_names_its_option() {
        for (option, name) in [
            ("--cpu-period=-1", "cpu-period"),
            ("--cpu-quota=x", "cpu-quota"),
            ("--memory=lots", "memory"),
        ] {
            let error = resources(&[option]).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("invalid value for {name}")),
                "{error}"
            );
        }
    }
}
