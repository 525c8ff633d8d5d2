//! Starting a command.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::Pid;

use crate::descriptors::{at_least, open_null, output_pipe};
use crate::environment::Environment;
use crate::fork::{ThreadsFd, between_forks};
use crate::handle::SpawnError;
use crate::new_process::{Executable, NewProcess};
use crate::open_files_limit;
use crate::program::{Failure, Step};
use crate::zygote::{Loading, Made};
use crate::zygotes::Zygotes;

/// The kernel's limit for one argument or variable, MAX_ARG_STRLEN: 32 pages, the final NUL included (execve(2)).
const LONGEST_STRING: usize = 32 * 4096;

/// What to start. Everything is ready for the kernel: starting it needs nothing of the caller any more.
pub struct Command {
    /// The program as it was named; also its `argv[0]`.
    pub program: CString,
    pub args: Vec<CString>,
    pub env: Environment,
    pub cwd: Option<CString>,
}

/// A started command and the reading ends of its standard output and standard error.
pub struct Child {
    pub pid: Pid,
    pub pidfd: ThreadsFd,
    pub pipes: [ThreadsFd; 2],
    /// What the kernel counts to its peak memory at least, though it is another process's, in bytes.
    pub host_peak: u64,
    /// None: its program is loaded.
    pub start: Option<PendingStart>,
    /// Whether it is in the cgroup that it was to be put into.
    pub in_cgroup: bool,
}

/// A command whose program may still be on its way.
pub struct PendingStart {
    loading: Arc<Loading>,
    attempt: Attempt,
}

/// What there is to say about a start that failed.
#[derive(Clone)]
struct Attempt {
    program: CString,
    cwd: Option<CString>,
    longest_string: usize,
    size: usize,
}

impl Command {
    /// Start the command in a session of its own, with /dev/null, two new pipes and no other descriptor, an empty
    /// signal mask and default dispositions; in the cgroup that this folder is, if that is possible.
    pub fn spawn(&self, zygotes: &mut Zygotes, cgroup: Option<BorrowedFd>) -> Result<Child, SpawnError> {
        let attempt = self.attempt();
        let files = self.files().map_err(|errno| attempt.error(errno.into()))?;
        let mut spawn = || self.spawn_files(&files, zygotes, cgroup, &attempt);
        match spawn() {
            Err(failure) if failure.errno == libc::EMFILE && open_files_limit::raise() => spawn(),
            spawned => spawned,
        }
        .map_err(|failure| attempt.error(failure))
    }

    fn spawn_files(
        &self,
        files: &[CString],
        zygotes: &mut Zygotes,
        cgroup: Option<BorrowedFd>,
        attempt: &Attempt,
    ) -> Result<Child, Failure> {
        let [(stdout, child_stdout), (stderr, child_stderr)] =
            between_forks(|| Ok([output_pipe()?, output_pipe()?])).map_err(|errno: Errno| errno)?;
        open_files_limit::raise_in_time(child_stderr.as_fd().as_raw_fd());
        let files: Vec<&CStr> = files.iter().map(CString::as_c_str).collect();
        let argv: Vec<&CStr> = std::iter::once(&self.program).chain(&self.args).map(CString::as_c_str).collect();
        let envp: Vec<&CStr> = self.env.variables().collect();
        let mut process = NewProcess {
            program: Executable::Files(&files),
            argv: &argv,
            envp: &envp,
            cwd: self.cwd.as_deref(),
            descriptors: &[],
            open_files: open_files_limit::for_commands(),
        };
        let pipes = [&child_stdout, &child_stderr].map(AsFd::as_fd);
        let child = match zygotes.make(&process, pipes, cgroup) {
            Some(made) => {
                let Made { pid, pidfd, loading, in_cgroup } = made?;
                let start = Some(PendingStart { loading, attempt: attempt.clone() });
                Child { pid, pidfd, pipes: [stdout, stderr], host_peak: 0, start, in_cgroup }
            }
            None => {
                let null =
                    between_forks(|| Ok(ThreadsFd::new(at_least(open_null()?, 3)?))).map_err(|errno: Errno| errno)?;
                let descriptors = [null.as_fd(), pipes[0], pipes[1]];
                process.descriptors = &descriptors;
                let (pid, pidfd) = process.start()?;
                let (pidfd, host_peak) = (ThreadsFd::new(pidfd), own_peak());
                Child { pid, pidfd, pipes: [stdout, stderr], host_peak, start: None, in_cgroup: false }
            }
        };
        // A copy of this process that had them would keep the pipes from ending.
        between_forks(|| drop((child_stdout, child_stderr)));
        Ok(child)
    }

    /// Where the program may be: in the PATH that the command will run with, as for execvp(3). What is relative is
    /// relative to `cwd`.
    fn files(&self) -> Result<Vec<CString>, Errno> {
        let name = Path::new(OsStr::from_bytes(self.program.as_bytes()));
        if self.program.as_bytes().contains(&b'/') {
            return Ok(vec![self.program.clone()]);
        }
        let path = self.env.get("PATH").unwrap_or(OsStr::new("/bin:/usr/bin"));
        let files = std::env::split_paths(path).map(|folder| {
            let file = if folder.as_os_str().is_empty() { Path::new(".").join(name) } else { folder.join(name) };
            CString::new(file.into_os_string().into_vec()).map_err(|_| Errno::INVAL)
        });
        files.collect()
    }

    fn attempt(&self) -> Attempt {
        let strings = || self.args.iter().map(CString::as_c_str).chain(self.env.variables());
        let sizes = || strings().map(|string| string.count_bytes() + 1);
        Attempt {
            program: self.program.clone(),
            cwd: self.cwd.clone(),
            longest_string: sizes().max().unwrap_or(0),
            size: sizes().map(|size| size + size_of::<usize>()).sum(),
        }
    }
}

impl Child {
    /// Wait until the program is loaded, or will not be; not longer than `patience`.
    pub fn wait_for_program(&self, patience: Duration) {
        if let Some(start) = &self.start {
            start.loading.wait(patience);
        }
    }
}

impl PendingStart {
    /// Why the command could not be started. To be asked when its process has ended.
    pub fn error(&self) -> Option<SpawnError> {
        self.loading.failure().map(|failure| self.attempt.error(failure))
    }
}

impl Attempt {
    /// Tells from what is known: looking at files again might take for ever.
    fn error(&self, failure: Failure) -> SpawnError {
        let named = self.program.as_bytes().contains(&b'/');
        let reason = match (failure.step, Errno::from_raw_os_error(failure.errno)) {
            (Step::Folder, errno) => {
                let folder = self.cwd.as_ref().map_or("".into(), |cwd| cwd.to_string_lossy());
                match errno {
                    Errno::NOTDIR => format!("its working folder {folder} is not a folder"),
                    errno => format!("its working folder {folder}: {}", describe(errno.into())),
                }
            }
            (Step::Interpreter, _) => "the interpreter named in its first line does not exist".into(),
            (_, Errno::TOOBIG) => self.explain_too_big(),
            (_, Errno::NOENT) if !named => "no such program in the PATH it would run with".into(),
            (_, Errno::NOENT) => "no such file".into(),
            (_, Errno::ACCESS) if !named => "the file of that name in the PATH may not be executed".into(),
            (_, Errno::ACCESS) => "it may not be executed".into(),
            (_, Errno::NOEXEC) => "it is neither a binary for this machine nor a script with an interpreter".into(),
            (_, Errno::MFILE) => "this process has no file descriptors left (see `ulimit -n`)".into(),
            (_, Errno::NFILE) => "the system has no file descriptors left".into(),
            (_, Errno::AGAIN) => "no more processes are allowed (see `ulimit -u`)".into(),
            (_, errno) => describe(errno.into()),
        };
        let message = format!("cannot start {}: {reason}", self.program.to_string_lossy());
        SpawnError { errno: failure.errno, message }
    }

    fn explain_too_big(&self) -> String {
        if self.longest_string > LONGEST_STRING {
            let longest = self.longest_string;
            return format!("an argument or variable has {longest} bytes, the kernel's limit is {LONGEST_STRING}");
        }
        // A quarter of the stack's limit, at most three quarters of 8 MiB, at least 128 KiB (execve(2)).
        let stack = rustix::process::getrlimit(rustix::process::Resource::Stack).current;
        let limit = stack.map_or(6 << 20, |stack| (stack / 4).clamp(128 << 10, 6 << 20));
        format!("arguments and environment need {} bytes, the kernel's limit is {limit} (see `ulimit -s`)", self.size)
    }
}

fn describe(error: io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_lowercase()
}

/// The most that this process had in memory so far, in bytes.
fn own_peak() -> u64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to memory of the right type, and all zeros is a valid value of it.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024
}
