//! Starting a command: the only place that makes a process.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, accessat, fcntl_setfl, open};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;

use crate::fork::ThreadsFd;
use crate::handle::SpawnError;
use crate::new_process::{NewProcess, Strings};
use crate::open_files_limit;
use crate::process_files::MARK_VARIABLE;

/// The kernel's limit for one argument or variable, MAX_ARG_STRLEN: 32 pages, the final NUL included (execve(2)).
const LONGEST_STRING: usize = 32 * 4096;

/// What to start. Everything is ready for the kernel: starting it needs nothing of the caller any more.
pub struct Command {
    /// The program as it was named; also its `argv[0]`.
    pub program: CString,
    pub args: Vec<CString>,
    /// `NAME=value`, complete.
    pub env: Vec<CString>,
    /// The value of PATH in `env`.
    pub path: Option<OsString>,
    pub cwd: Option<CString>,
}

/// A started command and the reading ends of its standard output and standard error.
pub struct Child {
    pub pid: Pid,
    pub pidfd: ThreadsFd,
    pub pipes: [ThreadsFd; 2],
    /// The largest resident memory this process had when the command had been started, in bytes.
    pub host_peak: u64,
}

impl Command {
    /// Let whatever descends from the command be recognised by `mark`. It is added to those of the commands that this
    /// process itself descends from.
    pub fn add_mark(&mut self, mark: &str) {
        let prefix = [MARK_VARIABLE.as_bytes(), b"="].concat();
        let inherited = self.env.iter().position(|variable| variable.as_bytes().starts_with(&prefix));
        let mut variable = match inherited {
            Some(at) => [self.env.swap_remove(at).as_bytes(), b":"].concat(),
            None => prefix,
        };
        variable.extend_from_slice(mark.as_bytes());
        if let Ok(variable) = CString::new(variable) {
            self.env.push(variable);
        }
    }

    /// Start the command in a session of its own, with /dev/null, two new pipes and no other descriptor, an empty
    /// signal mask and default dispositions.
    pub fn spawn(&self) -> Result<Child, SpawnError> {
        let file = self.resolve().map_err(|errno| self.error(errno))?;
        match self.spawn_file(&file) {
            Err(Errno::MFILE) if open_files_limit::raise() => self.spawn_file(&file),
            spawned => spawned,
        }
        .map_err(|errno| self.error(errno))
    }

    fn spawn_file(&self, file: &CStr) -> Result<Child, Errno> {
        let (stdout, child_stdout) = output_pipe()?;
        let (stderr, child_stderr) = output_pipe()?;
        let null = at_least(open_null()?, 3)?;
        open_files_limit::raise_in_time(null.as_raw_fd());
        let process = NewProcess {
            file,
            argv: &Strings::new(std::iter::once(&self.program).chain(&self.args).map(CString::as_c_str)),
            envp: &Strings::new(self.env.iter().map(CString::as_c_str)),
            cwd: self.cwd.as_deref(),
            descriptors: &[&null, &child_stdout, &child_stderr].map(AsFd::as_fd),
            open_files: open_files_limit::for_commands(),
        };
        let (pid, pidfd) = process.start()?;
        let (pidfd, pipes) = (ThreadsFd::new(pidfd), [stdout, stderr].map(ThreadsFd::new));
        Ok(Child { pid, pidfd, pipes, host_peak: peak_resident_memory() })
    }

    /// The file to execute: found in the PATH that the command will run with, as execvp(3) would, but here, since
    /// the path has to be known before the fast way of starting. What is relative is relative to `cwd`.
    fn resolve(&self) -> Result<CString, Errno> {
        let name = Path::new(OsStr::from_bytes(self.program.as_bytes()));
        if self.program.as_bytes().contains(&b'/') {
            return Ok(self.program.clone());
        }
        let mut error = Errno::NOENT;
        let path = self.path.as_deref().unwrap_or(OsStr::new("/bin:/usr/bin"));
        for folder in std::env::split_paths(path) {
            let candidate = if folder.as_os_str().is_empty() { Path::new(".").join(name) } else { folder.join(name) };
            match self.check_executable(&candidate) {
                Ok(()) => return CString::new(candidate.into_os_string().as_bytes()).map_err(|_| Errno::INVAL),
                Err(Errno::ACCESS) => error = Errno::ACCESS,
                Err(_) => {}
            }
        }
        Err(error)
    }

    fn check_executable(&self, file: &Path) -> Result<(), Errno> {
        let file = self.folder().join(file);
        accessat(CWD, &file, Access::EXEC_OK, AtFlags::EACCESS)?;
        if file.is_file() { Ok(()) } else { Err(Errno::ACCESS) }
    }

    fn folder(&self) -> PathBuf {
        self.cwd.as_ref().map_or_else(PathBuf::new, |cwd| OsStr::from_bytes(cwd.as_bytes()).into())
    }

    /// There is one number for everything that may have gone wrong in the new process: find out what it was.
    fn error(&self, errno: Errno) -> SpawnError {
        let program = self.program.to_string_lossy();
        let folder = self.folder();
        let named = self.program.as_bytes().contains(&b'/');
        let reason = match errno {
            Errno::TOOBIG => self.explain_too_big(),
            _ if self.cwd.is_some() && !folder.is_dir() => match folder.metadata() {
                Ok(_) => format!("its working folder {} is not a folder", folder.display()),
                Err(error) => format!("its working folder {}: {}", folder.display(), describe(error)),
            },
            Errno::NOENT if !named => "no such program in the PATH it would run with".into(),
            Errno::NOENT if folder.join(OsStr::from_bytes(self.program.as_bytes())).exists() => {
                "the interpreter named in its first line does not exist".into()
            }
            Errno::NOENT => "no such file".into(),
            Errno::ACCESS if !named => "the file of that name in the PATH may not be executed".into(),
            Errno::ACCESS => "it may not be executed".into(),
            Errno::NOEXEC => "it is neither a binary for this machine nor a script with an interpreter".into(),
            Errno::MFILE => "this process has no file descriptors left (see `ulimit -n`)".into(),
            Errno::NFILE => "the system has no file descriptors left".into(),
            Errno::AGAIN => "no more processes are allowed (see `ulimit -u`)".into(),
            errno => describe(errno.into()),
        };
        SpawnError { errno: errno.raw_os_error(), message: format!("cannot start {program}: {reason}") }
    }

    fn explain_too_big(&self) -> String {
        let strings = || self.args.iter().chain(&self.env);
        if let Some(longest) = strings().map(|string| string.as_bytes_with_nul().len()).max()
            && longest > LONGEST_STRING
        {
            return format!("an argument or variable has {longest} bytes, the kernel's limit is {LONGEST_STRING}");
        }
        let total: usize = strings().map(|string| string.as_bytes_with_nul().len() + size_of::<usize>()).sum();
        // A quarter of the stack's limit, at most three quarters of 8 MiB, at least 128 KiB (execve(2)).
        let stack = rustix::process::getrlimit(rustix::process::Resource::Stack).current;
        let limit = stack.map_or(6 << 20, |stack| (stack / 4).clamp(128 << 10, 6 << 20));
        format!("arguments and environment need {total} bytes, the kernel's limit is {limit} (see `ulimit -s`)")
    }
}

fn describe(error: io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text[..end].to_lowercase()
}

/// A pipe for the command to write to; our end does not block.
fn output_pipe() -> Result<(OwnedFd, OwnedFd), Errno> {
    let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&reader, OFlags::NONBLOCK)?;
    // A host without standard streams gets numbers below 3 here, which the child's own streams would replace.
    Ok((reader, at_least(writer, 3)?))
}

/// What a process reads that is to read nothing.
pub fn open_null() -> Result<OwnedFd, Errno> {
    open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

/// The same open file under a number that is `least` or greater.
pub fn at_least(fd: OwnedFd, least: RawFd) -> Result<OwnedFd, Errno> {
    if fd.as_raw_fd() < least { fcntl_dupfd_cloexec(fd, least) } else { Ok(fd) }
}

fn peak_resident_memory() -> u64 {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to memory of the right type, and all zeros is a valid value of it.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024
}
