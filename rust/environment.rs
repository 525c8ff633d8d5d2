//! The environment of a command.

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt;

use crate::process_files::MARK_VARIABLE;

unsafe extern "C" {
    /// What environ(7) describes; setenv(3) puts another list there.
    static mut environ: *const *const std::ffi::c_char;
}

/// `NAME=value` for each variable. They lie in one piece: a variable each would cost more than all else of a start.
#[derive(Default)]
pub struct Environment {
    /// One after the other, each with a NUL at its end.
    bytes: Vec<u8>,
}

/// A name or a value that no variable can have.
#[derive(Debug)]
pub struct HasNul;

impl Environment {
    /// That of this process with `changes` laid over it.
    ///
    /// # Safety
    ///
    /// Nobody changes the environment of this process meanwhile.
    pub unsafe fn changed_by<T: AsRef<OsStr>>(changes: &[(T, T)]) -> Result<Self, HasNul> {
        let changes = || changes.iter().map(|(name, value)| (name.as_ref().as_bytes(), value.as_ref().as_bytes()));
        let mut environment = Self { bytes: Vec::with_capacity(4096) };
        // SAFETY: the caller's promise.
        for variable in unsafe { own_variables() } {
            // The first character may be a `=` of the name.
            let Some(end) = variable.to_bytes().iter().skip(1).position(|byte| *byte == b'=') else { continue };
            if !changes().any(|(name, _)| name == &variable.to_bytes()[..end + 1]) {
                environment.bytes.extend_from_slice(variable.to_bytes_with_nul());
            }
        }
        for (name, value) in changes() {
            if name.contains(&0) || value.contains(&0) {
                return Err(HasNul);
            }
            environment.add(&[name, b"=", value]);
        }
        Ok(environment)
    }

    pub fn variables(&self) -> impl Iterator<Item = &CStr> {
        self.bytes.split_inclusive(|byte| *byte == 0).filter_map(|bytes| CStr::from_bytes_with_nul(bytes).ok())
    }

    /// The value of the first variable of that name.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.variables().find_map(|variable| value(variable, name)).map(OsStr::from_bytes)
    }

    /// Let whatever descends from the command be recognised by `mark`. It is added to those of the commands that this
    /// process itself descends from.
    pub fn add_mark(&mut self, mark: &str) {
        let inherited = self.get(MARK_VARIABLE).map(|value| value.as_bytes().to_owned());
        let name = MARK_VARIABLE.as_bytes();
        match inherited {
            Some(inherited) => {
                let others = self.variables().filter(|variable| value(variable, MARK_VARIABLE).is_none());
                self.bytes = others.flat_map(CStr::to_bytes_with_nul).copied().collect();
                self.add(&[name, b"=", &inherited, b":", mark.as_bytes()]);
            }
            None => self.add(&[name, b"=", mark.as_bytes()]),
        }
    }

    fn add(&mut self, parts: &[&[u8]]) {
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        self.bytes.push(0);
    }
}

/// Its value, if it has that name.
fn value<'a>(variable: &'a CStr, name: &str) -> Option<&'a [u8]> {
    variable.to_bytes().strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

/// # Safety
///
/// Nobody changes them while they are used.
unsafe fn own_variables<'a>() -> impl Iterator<Item = &'a CStr> {
    // SAFETY: the caller's promise. It is null after clearenv(3), or ends in a null pointer.
    unsafe {
        let mut next = (&raw const environ).read();
        std::iter::from_fn(move || {
            let variable = *next.as_ref()?;
            next = next.add(1);
            (!variable.is_null()).then(|| CStr::from_ptr(variable))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(changes: &[(&str, &str)]) -> Environment {
        // SAFETY: no test changes it.
        unsafe { Environment::changed_by(changes) }.unwrap()
    }

    #[test]
    fn a_change_replaces_a_variable_and_the_rest_is_this_process_s() {
        let environment = of(&[("PATH", "/here"), ("NEW", "a=b"), ("EMPTY", "")]);
        assert_eq!(environment.get("PATH"), Some(OsStr::new("/here")));
        assert_eq!(environment.get("NEW"), Some(OsStr::new("a=b")));
        assert_eq!(environment.get("EMPTY"), Some(OsStr::new("")));
        assert_eq!(environment.get("NONE"), None);
        let others = std::env::vars_os().filter(|(name, _)| name != "PATH");
        let count = others.inspect(|(name, value)| {
            assert_eq!(environment.get(name.to_str().unwrap()), Some(value.as_os_str()));
        });
        assert_eq!(count.count() + 3, environment.variables().count());
    }

    #[test]
    fn a_mark_is_added_to_those_inherited() {
        let mut environment = of(&[(MARK_VARIABLE, "outer"), ("LAST", "1")]);
        environment.add_mark("inner");
        assert_eq!(environment.get(MARK_VARIABLE), Some(OsStr::new("outer:inner")));
        assert_eq!(environment.get("LAST"), Some(OsStr::new("1")));
        let mut environment = Environment::default();
        environment.add_mark("only");
        assert_eq!(environment.variables().collect::<Vec<_>>(), [c"TAILRACE_COMMAND=only"]);
    }

    #[test]
    fn a_nul_is_refused() {
        // SAFETY: no test changes it.
        unsafe {
            assert!(Environment::changed_by(&[("A\0", "b")]).is_err());
            assert!(Environment::changed_by(&[("A", "b\0")]).is_err());
        }
    }
}
