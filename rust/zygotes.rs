//! The zygote there is, made anew when it is needed.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::new_process::NewProcess;
use crate::open_files_limit;
use crate::program::Failure;
use crate::zygote::{Made, Refusal, Zygote, fits};

/// How long commands are started without a zygote when none could be made.
const RETRY: Duration = Duration::from_secs(1);
/// How many zygotes may be tried for one command. Whoever kills each of them does not want it to start.
const ATTEMPTS: u32 = 3;

/// The zygote there is, if there is one.
#[derive(Default)]
pub struct Zygotes {
    present: Option<Zygote>,
    none_until: Option<Instant>,
}

impl Zygotes {
    /// Have a process made, in the cgroup if that is possible. None: there is no zygote to be had.
    pub fn make(
        &mut self,
        process: &NewProcess,
        pipes: [BorrowedFd; 2],
        mut cgroup: Option<BorrowedFd>,
    ) -> Option<Result<Made, Failure>> {
        if !fits(process) {
            return Some(Err(Errno::TOOBIG.into()));
        }
        for _ in 0..ATTEMPTS {
            match self.current(process)?.make(process, pipes, cgroup) {
                Ok(made) => return Some(Ok(made)),
                Err(Refusal::Failed(errno @ (Errno::AGAIN | Errno::MFILE | Errno::NFILE | Errno::NOMEM))) => {
                    return Some(Err(errno.into()));
                }
                Err(Refusal::Failed(Errno::TIMEDOUT)) => {
                    self.give_up();
                    return Some(Err(Errno::TIMEDOUT.into()));
                }
                // Nobody may be put there.
                Err(Refusal::Failed(_)) if cgroup.take().is_some() => {}
                Err(Refusal::Failed(_)) => break,
                Err(Refusal::Exhausted) => self.present = None,
            }
        }
        // Something here keeps zygotes from doing what they are for.
        self.give_up();
        None
    }

    /// A zygote from which a process inherits what it would from us, for as long as we are not asked for another.
    fn current(&mut self, process: &NewProcess) -> Option<&mut Zygote> {
        self.present.take_if(|zygote| !zygote.is_current());
        if self.present.is_none() {
            if self.none_until.is_some_and(|until| Instant::now() < until) {
                return None;
            }
            match Zygote::new(process) {
                Err(failure) if failure.errno == libc::EMFILE && open_files_limit::raise() => {
                    self.present = Zygote::new(process).ok();
                }
                zygote => self.present = zygote.ok(),
            }
            if self.present.is_none() {
                self.give_up();
            }
        }
        self.present.as_mut()
    }

    pub fn is_present(&self) -> bool {
        self.present.is_some()
    }

    pub fn discard(&mut self) {
        self.present = None;
    }

    fn give_up(&mut self) {
        self.present = None;
        self.none_until = Some(Instant::now() + RETRY);
    }
}
