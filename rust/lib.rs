//! The native core of tailrace: it runs commands, reads their pipes and waits for their exits.

// Under the model checker, what is bound to the system is left out or replaced, and so not all of the rest is used.
#![cfg_attr(loom, allow(dead_code, clippy::unwrap_used))]

#[cfg(not(loom))]
mod call_watch;
mod capture;
#[cfg(not(loom))]
mod cgroup;
mod delivery;
#[cfg(not(loom))]
mod descriptors;
#[cfg(not(loom))]
mod ending_tree;
#[cfg(not(loom))]
mod engine;
#[cfg(not(loom))]
mod environment;
#[cfg(all(test, not(loom)))]
mod every_cut;
#[cfg(not(loom))]
mod fork;
mod handle;
#[cfg(not(loom))]
mod inherited;
#[cfg(not(loom))]
mod io_thread;
#[cfg(not(loom))]
mod lines;
mod loan;
mod mailbox;
#[cfg_attr(loom, path = "model/mapping.rs")]
mod mapping;
#[cfg(not(loom))]
mod memory_watch;
#[cfg(not(loom))]
mod message;
#[cfg(loom)]
mod model;
#[cfg(not(loom))]
mod needles;
#[cfg(not(loom))]
mod new_process;
#[cfg(not(loom))]
mod open_files_limit;
mod output_queue;
#[cfg(not(loom))]
mod output_rate;
#[cfg(not(loom))]
mod pipe;
#[cfg(not(loom))]
mod pipe_memory;
#[cfg(not(loom))]
mod process_files;
#[cfg(not(loom))]
mod process_group;
#[cfg(not(loom))]
mod process_tree;
#[cfg(not(loom))]
mod program;
#[cfg(not(loom))]
mod python;
#[cfg(not(loom))]
mod reading_threads;
#[cfg(not(loom))]
mod running_command;
#[cfg(not(loom))]
mod running_commands;
mod segment;
mod signal_mask;
#[cfg(not(loom))]
mod spawn;
#[cfg(not(loom))]
mod spawner;
mod spill;
#[cfg(not(loom))]
mod start;
#[cfg(not(loom))]
mod supervisor;
mod sync;
#[cfg(not(loom))]
mod system_call;
#[cfg(not(loom))]
mod terminator;
#[cfg(not(loom))]
mod tree_usage;
#[cfg(not(loom))]
mod usage_sampler;
#[cfg(not(loom))]
mod utf8;
#[cfg_attr(loom, path = "model/wake.rs")]
mod wake;
#[cfg(not(loom))]
mod watchdog;
#[cfg(not(loom))]
mod watched_reader;
#[cfg(not(loom))]
mod zygote;
#[cfg(not(loom))]
mod zygotes;
