//! The core under a model checker: what stands in for the system there, and what is checked.

mod once_lock;
#[cfg(test)]
mod tests;

pub use once_lock::OnceLock;
