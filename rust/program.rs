//! What a new process does until its program is loaded: system calls and nothing else, since its memory is its maker's
//! until then. It takes no lock, allocates nothing, and never looks at `errno`.
//!
//! This is compiled twice: into the core, and into the zygote.

use core::ffi::{c_char, c_int};
use core::mem::MaybeUninit;
use core::ptr;

use crate::system_call::{number, system_call};

/// What to become: a leader of a session of its own, with an empty signal mask and default dispositions.
#[repr(C)]
pub struct Program {
    /// Where the program may be, and NULL. The first that can be executed is taken.
    pub files: *const *const c_char,
    /// What to execute instead, if this is one of its descriptors.
    pub image: c_int,
    pub argv: *const *const c_char,
    pub envp: *const *const c_char,
    /// NULL: that of the maker.
    pub cwd: *const c_char,
    /// What become the descriptors 0, 1 and so on. Of each that is not there yet, the number is greater than all of these.
    pub descriptors: *const c_int,
    pub descriptor_count: c_int,
    /// How many open files it is limited to at first, the soft and the hard limit; NULL: as many as its maker.
    pub open_files: *const [u64; 2],
    /// The maker may handle signals, and have descriptors that are not marked to be closed.
    pub made_by_host: bool,
}

/// Where a start failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    Prepare = 1,
    Folder,
    Program,
    /// The program is there, but not what it names in its first line.
    Interpreter,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failure {
    pub step: Step,
    pub errno: c_int,
}

impl Failure {
    /// Not 0.
    pub fn to_bits(self) -> u32 {
        (self.step as u32) << 16 | self.errno as u32
    }

    pub fn from_bits(bits: u32) -> Option<Self> {
        let step = match bits >> 16 {
            0 => return None,
            2 => Step::Folder,
            3 => Step::Program,
            4 => Step::Interpreter,
            _ => Step::Prepare,
        };
        Some(Self { step, errno: (bits & 0xffff) as c_int })
    }
}

const NOENT: c_int = 2;
const ACCES: c_int = 13;
const NOSYS: c_int = 38;
/// Signals are numbered from 1 to this (signal(7)).
const LAST_SIGNAL: usize = 64;
const SET_MASK: usize = 2;
/// All zeros is the default disposition, whatever the order of the fields; no structure is larger.
static DEFAULT: [u64; 8] = [0; 8];
/// Of a signal set.
const SET_SIZE: usize = 8;
const OPEN_FILES: usize = 7;
const WORKING_FOLDER: usize = -100_isize as usize;
const EMPTY_PATH: usize = 0x1000;
const TYPE_AND_MODE: usize = 3;
const MODE_AT: usize = 28;
const FORMAT: u16 = 0o170_000;
const REGULAR: u16 = 0o100_000;

/// Become the program. Returns only if that was not possible.
///
/// # Safety
///
/// To be called in a process that has nothing to lose. All pointers are to what they say they are.
pub unsafe fn become_program(program: &Program) -> Failure {
    let prepare = |errno| Failure { step: Step::Prepare, errno };
    // SAFETY: these calls write nothing but the `limits` and `status` of this frame; what they read is as the caller
    // promises.
    unsafe {
        let _ = system_call(number::SETSID, []);
        if program.made_by_host {
            for signal in 1..=LAST_SIGNAL {
                // Refused for those that cannot be changed, and so need not be.
                let _ = system_call(number::RT_SIGACTION, [signal, DEFAULT.as_ptr() as usize, 0, SET_SIZE]);
            }
        }
        let none = 0_u64;
        let _ = system_call(number::RT_SIGPROCMASK, [SET_MASK, &raw const none as usize, 0, SET_SIZE]);
        if !program.cwd.is_null()
            && let Err(errno) = system_call(number::CHDIR, [program.cwd as usize])
        {
            return Failure { step: Step::Folder, errno };
        }
        for wanted in 0..program.descriptor_count {
            let descriptor = *program.descriptors.offset(wanted as isize);
            if descriptor != wanted
                && let Err(errno) = system_call(number::DUP3, [descriptor as usize, wanted as usize, 0])
            {
                return prepare(errno);
            }
        }
        if program.made_by_host {
            close_from(program.descriptor_count);
        }
        if !program.open_files.is_null()
            && let Err(errno) = system_call(number::PRLIMIT64, [0, OPEN_FILES, program.open_files as usize, 0])
        {
            return prepare(errno);
        }
        if program.image >= 0 {
            let arguments = [
                program.image as usize,
                c"".as_ptr() as usize,
                program.argv as usize,
                program.envp as usize,
                EMPTY_PATH,
            ];
            return prepare(system_call(number::EXECVEAT, arguments).err().unwrap_or(0));
        }
        execute(program)
    }
}

/// # Safety
///
/// As for `become_program`.
unsafe fn execute(program: &Program) -> Failure {
    let mut failure = Failure { step: Step::Program, errno: NOENT };
    // SAFETY: the list ends with NULL, and each that comes before is a string.
    unsafe {
        let searches = !(*program.files.add(1)).is_null();
        let mut files = program.files;
        while !(*files).is_null() {
            let file = *files;
            files = files.add(1);
            // Older kernels copy all the arguments before they find that there is no such file.
            match if searches { find(file) } else { Ok(()) } {
                Ok(()) => {}
                Err(ACCES) => {
                    failure.errno = ACCES;
                    continue;
                }
                Err(_) => continue,
            }
            let arguments = [file as usize, program.argv as usize, program.envp as usize];
            failure.errno = match system_call(number::EXECVE, arguments) {
                Err(ACCES) => ACCES,
                Err(NOENT) if find(file) != Err(NOENT) => return Failure { step: Step::Interpreter, errno: NOENT },
                Err(errno) => return Failure { step: Step::Program, errno },
                Ok(_) => return failure,
            };
        }
    }
    failure
}

/// Whether there is a file that might be executed; what it is not is told as execve(2) would.
///
/// # Safety
///
/// `file` is a string.
unsafe fn find(file: *const c_char) -> Result<(), c_int> {
    // A `struct statx`, which is the same on all machines.
    let mut status = MaybeUninit::<[u16; 128]>::uninit();
    let status = status.as_mut_ptr().cast::<u16>();
    let arguments = [WORKING_FOLDER, file as usize, 0, TYPE_AND_MODE, status as usize];
    // SAFETY: the structure is as large, and is read only once it was written.
    let mode = unsafe { system_call(number::STATX, arguments).map(|_| *status.add(MODE_AT / 2)) };
    match mode {
        Ok(mode) if mode & FORMAT == REGULAR => Ok(()),
        Ok(_) => Err(ACCES),
        // Kept from us by who confines us: executing will tell.
        Err(NOSYS) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// # Safety
///
/// Nobody needs the descriptors.
unsafe fn close_from(first: c_int) {
    // SAFETY: the limit is written before it is read.
    unsafe {
        if system_call(number::CLOSE_RANGE, [first as usize, c_int::MAX as usize, 0]).is_ok() {
            return;
        }
        // Older than Linux 5.9.
        let mut limits = [0_u64; 2];
        let _ =
            system_call(number::PRLIMIT64, [0, OPEN_FILES, ptr::null::<u64>() as usize, limits.as_mut_ptr() as usize]);
        for descriptor in first as usize..limits[0].min(c_int::MAX as u64) as usize {
            let _ = system_call(number::CLOSE, [descriptor]);
        }
    }
}
