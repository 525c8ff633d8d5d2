//! A command that is to be started, and what is asked of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::capture::Policy;
use crate::handle::Handle;
use crate::spawn::Command;
use crate::supervisor::Busy;

/// A command on its way to the spawner.
pub struct Start {
    pub order: Order,
    pub mark: Arc<str>,
    pub handle: Arc<Handle>,
    pub busy: Busy,
}

/// What to run, and how.
pub struct Order {
    pub command: Command,
    pub timing: Timing,
    pub policy: Policy,
    /// Where the file is made that a result may need.
    pub spill_folder: Arc<Path>,
    /// Whether the consumer wants to see standard output and standard error as they come.
    pub wanted: [bool; 2],
    /// Whether it wants to hear of what the command uses.
    pub wants_usage: bool,
    /// Whether its activity is watched.
    pub wants_activity: bool,
}

/// The limits of a command, and how its output is gathered.
#[derive(Clone, Copy)]
pub struct Timing {
    pub total: Option<Duration>,
    pub idle: Option<Duration>,
    pub kill_grace: Duration,
    /// How long output may be gathered before the consumer is told of it; zero: not at all.
    pub merge_window: Duration,
}
