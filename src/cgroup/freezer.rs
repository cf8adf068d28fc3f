//! Stopping all processes of a container where they are, and letting them go on.

use std::thread;
use std::time::Duration;

use super::dir::Directory;
use super::error::CgroupError;
use super::handle::{Cgroup, Member, Mode};
use super::wait::{Deadline, Events};

/// As long as runc waits.
const LIMIT: Duration = Duration::from_secs(10);

impl Cgroup {
    /// Stops the processes and returns when all of them have stopped; if they do not, lets them go on again.
    ///
    /// # Errors
    /// A process that hangs in the kernel keeps the whole from being frozen.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        let directory = self.freezer()?;
        let frozen = match self.record.mode {
            Mode::V1 => freeze_legacy(&directory),
            _ => freeze_unified(&directory),
        };
        if frozen.is_err() {
            // Half frozen is the worst of states: some processes stopped, and nobody who knows. The cause is told.
            drop(self.set_frozen(&directory, false));
        }
        frozen
    }

    /// Lets the processes go on.
    ///
    /// # Errors
    /// Those of writing the state.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        let directory = self.freezer()?;
        self.set_frozen(&directory, false)
    }

    /// Whether the container itself was frozen (and not one of the cgroups above it). One without a freezer is not.
    ///
    /// # Errors
    /// Those of reading the state.
    pub fn is_frozen(&self) -> Result<bool, CgroupError> {
        let Some(member) = self.freezer_member() else {
            return Ok(false);
        };
        let file = match self.record.mode {
            Mode::V1 => "freezer.self_freezing",
            _ => "cgroup.freeze",
        };
        let text = Directory::open(&member.path).and_then(|directory| directory.read(file));
        match text {
            Ok(text) => Ok(text.trim() == "1"),
            Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::ENODEV)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn freezer(&self) -> Result<Directory, CgroupError> {
        let member = self.freezer_member().ok_or(CgroupError::NoCgroup {
            action: "pausing or resuming",
        })?;
        Directory::open(&member.path)
    }

    fn freezer_member(&self) -> Option<&Member> {
        self.member_of("freezer")
    }

    fn set_frozen(&self, directory: &Directory, frozen: bool) -> Result<(), CgroupError> {
        match (self.record.mode, frozen) {
            (Mode::V1, true) => directory.write("freezer.state", "FROZEN"),
            (Mode::V1, false) => directory.write("freezer.state", "THAWED"),
            (_, frozen) => directory.write("cgroup.freeze", if frozen { "1" } else { "0" }),
        }
    }
}

fn freeze_unified(directory: &Directory) -> Result<(), CgroupError> {
    match directory.write("cgroup.freeze", "1") {
        Err(error) if error.errno() == Some(libc::ENOENT) && !directory.has("cgroup.freeze") => {
            return Err(CgroupError::NoFreezer {
                path: directory.path().to_owned(),
            });
        }
        result => result?,
    }
    let mut events = Events::open(directory)?;
    match events.wait("frozen", true, Deadline::after(LIMIT)) {
        true => Ok(()),
        false => Err(timeout(directory)),
    }
}

/// The freezer of v1 can be left at FREEZING for ever by processes that fork while it works, and then has to be asked again;
/// now and then thawing it for a moment helps it over them (as runc found by trying).
fn freeze_legacy(directory: &Directory) -> Result<(), CgroupError> {
    const ASKS_BETWEEN_THAWS: u32 = 50;
    let deadline = Deadline::after(LIMIT);
    let mut pause = Duration::from_micros(10);
    for ask in 1.. {
        if ask % ASKS_BETWEEN_THAWS == 0 {
            directory.write("freezer.state", "THAWED")?;
            thread::sleep(Duration::from_millis(10));
        }
        directory.write("freezer.state", "FROZEN")?;
        if directory.read("freezer.state")?.trim() == "FROZEN" {
            return Ok(());
        }
        if !deadline.sleep(&mut pause) {
            break;
        }
    }
    Err(timeout(directory))
}

fn timeout(directory: &Directory) -> CgroupError {
    CgroupError::FreezeTimeout {
        path: directory.path().to_owned(),
        seconds: LIMIT.as_secs(),
    }
}
