//! Descriptors that what is started gets.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::fs::{Mode, OFlags, fcntl_setfl, open};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::fork::ThreadsFd;

/// A pipe for the command to write to; our end does not block.
pub fn output_pipe() -> Result<(ThreadsFd, ThreadsFd), Errno> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&reader, OFlags::NONBLOCK)?;
    // A host without standard streams gets numbers below 3 here, which the child's own streams would replace.
    Ok((ThreadsFd::new(reader), ThreadsFd::new(at_least(writer, 3)?)))
}

/// What a process reads that is to read nothing.
pub fn open_null() -> Result<OwnedFd, Errno> {
    open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

/// The same open file under a number that is `least` or greater.
pub fn at_least(fd: OwnedFd, least: RawFd) -> Result<OwnedFd, Errno> {
    if fd.as_raw_fd() < least { fcntl_dupfd_cloexec(fd, least) } else { Ok(fd) }
}
