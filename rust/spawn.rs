//! Starting a command: the only place that makes a process.

use std::ffi::{CStr, CString, OsStr, OsString, c_int};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, OFlags, accessat, fcntl_setfl};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process_group, pidfd_open, waitpid};

use crate::process_tree::MARK_VARIABLE;

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
    /// None: it has ended already, and somebody else has collected its status.
    pub pidfd: Option<OwnedFd>,
    pub pipes: [OwnedFd; 2],
    /// The largest resident memory this process had when the command had been started, in bytes.
    pub host_peak: u64,
}

/// Why a command could not be started.
#[derive(Debug)]
pub struct SpawnError {
    pub errno: i32,
    pub message: String,
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
        self.spawn_file(&file).map_err(|errno| self.error(errno))
    }

    fn spawn_file(&self, file: &CStr) -> Result<Child, Errno> {
        let (stdout, child_stdout) = output_pipe()?;
        let (stderr, child_stderr) = output_pipe()?;
        let mut actions = FileActions::new()?;
        actions.open_null(0)?;
        actions.dup(&child_stdout, 1)?;
        actions.dup(&child_stderr, 2)?;
        actions.close_from(3)?;
        if let Some(cwd) = &self.cwd {
            actions.change_dir(cwd)?;
        }
        let argv = pointers(std::iter::once(&self.program).chain(&self.args));
        let pid = start_with(file, &argv, &pointers(&self.env), &actions)?;
        let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Some(pidfd),
            Err(Errno::SRCH) => None,
            Err(error) => {
                // Without a descriptor (none left, most likely) it cannot be watched, so it must not run.
                let _ = kill_process_group(pid, Signal::KILL);
                let _ = waitpid(Some(pid), WaitOptions::empty());
                return Err(error);
            }
        };
        Ok(Child { pid, pidfd, pipes: [stdout, stderr], host_peak: peak_resident_memory() })
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

    /// posix_spawn reports one number for everything that may have gone wrong in the child: find out what it was.
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

/// Start a program of our own, with an empty environment.
pub fn start(file: &CStr, arguments: &[&str], actions: &FileActions) -> io::Result<Pid> {
    let arguments: Vec<CString> = arguments.iter().map(|argument| CString::new(*argument)).collect::<Result<_, _>>()?;
    Ok(start_with(file, &pointers(&arguments), &pointers([]), actions)?)
}

/// Both lists end with NULL.
fn start_with(
    file: &CStr,
    argv: &[*mut libc::c_char],
    envp: &[*mut libc::c_char],
    actions: &FileActions,
) -> Result<Pid, Errno> {
    let attributes = Attributes::new()?;
    let mut pid = 0;
    // SAFETY: every pointer is to a live value that glibc initialised, or to a NUL-terminated string or a
    // NULL-terminated list of such; posix_spawn only reads them.
    check(unsafe {
        libc::posix_spawn(
            &mut pid,
            file.as_ptr(),
            actions.0.as_ptr(),
            attributes.0.as_ptr(),
            argv.as_ptr(),
            envp.as_ptr(),
        )
    })?;
    Pid::from_raw(pid).ok_or(Errno::SRCH)
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

/// The same open file under a number that is `least` or greater.
pub fn at_least(fd: OwnedFd, least: RawFd) -> Result<OwnedFd, Errno> {
    if fd.as_raw_fd() < least { fcntl_dupfd_cloexec(fd, least) } else { Ok(fd) }
}

fn pointers<'a>(strings: impl IntoIterator<Item = &'a CString>) -> Vec<*mut libc::c_char> {
    let pointers = strings.into_iter().map(|string| string.as_ptr().cast_mut());
    pointers.chain(std::iter::once(std::ptr::null_mut())).collect()
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

fn check(code: c_int) -> Result<(), Errno> {
    if code == 0 { Ok(()) } else { Err(Errno::from_raw_os_error(code)) }
}

/// What a new process does with its descriptors before its program starts.
pub struct FileActions(MaybeUninit<libc::posix_spawn_file_actions_t>);

impl FileActions {
    pub fn new() -> Result<Self, Errno> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: `init` writes the value it is given the address of.
        check(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        Ok(Self(actions))
    }

    pub fn open_null(&mut self, fd: c_int) -> Result<(), Errno> {
        let flags = libc::O_RDWR;
        // SAFETY: initialised in `new`; glibc copies the path.
        check(unsafe {
            libc::posix_spawn_file_actions_addopen(self.0.as_mut_ptr(), fd, c"/dev/null".as_ptr(), flags, 0)
        })
    }

    pub fn dup(&mut self, from: &OwnedFd, to: c_int) -> Result<(), Errno> {
        // SAFETY: initialised in `new`; the descriptor stays open until the command has been started.
        check(unsafe { libc::posix_spawn_file_actions_adddup2(self.0.as_mut_ptr(), from.as_raw_fd(), to) })
    }

    pub fn close_from(&mut self, first: c_int) -> Result<(), Errno> {
        // SAFETY: initialised in `new`.
        check(unsafe { libc::posix_spawn_file_actions_addclosefrom_np(self.0.as_mut_ptr(), first) })
    }

    fn change_dir(&mut self, path: &CStr) -> Result<(), Errno> {
        // SAFETY: initialised in `new`; glibc copies the path.
        check(unsafe { libc::posix_spawn_file_actions_addchdir_np(self.0.as_mut_ptr(), path.as_ptr()) })
    }
}

impl Drop for FileActions {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, destroyed once.
        unsafe { libc::posix_spawn_file_actions_destroy(self.0.as_mut_ptr()) };
    }
}

struct Attributes(MaybeUninit<libc::posix_spawnattr_t>);

impl Attributes {
    fn new() -> Result<Self, Errno> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: `init` writes the value it is given the address of.
        check(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        let mut attributes = Self(attributes);
        let mut signals = MaybeUninit::uninit();
        let flags = libc::POSIX_SPAWN_SETSIGMASK as i16 | libc::POSIX_SPAWN_SETSIGDEF as i16 | libc::POSIX_SPAWN_SETSID;
        // SAFETY: the attributes are initialised; each signal set is written by `sigfillset` or `sigemptyset` before
        // it is read, and glibc copies it.
        unsafe {
            libc::sigfillset(signals.as_mut_ptr());
            check(libc::posix_spawnattr_setsigdefault(attributes.0.as_mut_ptr(), signals.as_ptr()))?;
            libc::sigemptyset(signals.as_mut_ptr());
            check(libc::posix_spawnattr_setsigmask(attributes.0.as_mut_ptr(), signals.as_ptr()))?;
            check(libc::posix_spawnattr_setflags(attributes.0.as_mut_ptr(), flags))?;
        }
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised in `new`, destroyed once.
        unsafe { libc::posix_spawnattr_destroy(self.0.as_mut_ptr()) };
    }
}
