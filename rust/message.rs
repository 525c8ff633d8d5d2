//! What other threads ask of the I/O thread.

use std::sync::mpsc::Sender;

use crate::ending_tree::Gone;
use crate::handle::Limit;
use crate::pipe::Called;
use crate::running_command::RunningCommand;

/// The numbers are commands'.
pub enum Message {
    Started(Box<RunningCommand>),
    /// A call about a pipe that hung has returned.
    Called(Called),
    /// The consumer has made room in a stream's queue, or the disk has caught up.
    Resume {
        id: u64,
        stream: usize,
    },
    /// End the command; nobody wants its output.
    Stop(u64),
    /// End the command for a limit that another keeps, or because somebody asks; its output is wanted.
    End {
        id: u64,
        limit: Option<Limit>,
    },
    /// The command's tree is gone, or nothing more can be done about it.
    TreeGone(Box<Gone>),
    /// A file that keeps output is complete, or cannot be written.
    Spilled(u64),
    /// Kill every command; the sender is dropped when they are gone.
    StopAll(Sender<()>),
}
