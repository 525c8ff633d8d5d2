//! Builds the zygote and the first process of containers, whose executables the core carries with it.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

const SHARED: [&str; 3] = ["rust/zygote/system_call.rs", "rust/zygote/descriptor_message.rs", "rust/program.rs"];
const ZYGOTE: [&str; 2] = ["rust/zygote/main.rs", "rust/zygote/order.rs"];
const CONTAINER_INIT: [&str; 7] = [
    "rust/container_init/main.rs",
    "rust/container_init/arena.rs",
    "rust/container_init/kernel.rs",
    "rust/container_init/link.rs",
    "rust/container_init/memory.rs",
    "rust/container_init/outcome.rs",
    "rust/container_init/stand_in.rs",
];

fn main() -> io::Result<()> {
    for source in SHARED.iter().chain(&ZYGOTE).chain(&CONTAINER_INIT) {
        println!("cargo::rerun-if-changed={source}");
    }
    // The core makes processes itself without the one, and no containers without the other.
    build("zygote", ZYGOTE[0], "commands start without it")?;
    build("container_init", CONTAINER_INIT[0], "nothing can be run in containers")
}

fn variable(name: &str) -> OsString {
    env::var_os(name).unwrap_or_default()
}

/// Build an executable; where that is not possible, an empty file takes its place.
fn build(name: &str, source: &str, without: &str) -> io::Result<()> {
    let image = Path::new(&variable("OUT_DIR")).join(name);
    let known = variable("CARGO_CFG_TARGET_OS") == "linux"
        && ["x86_64", "aarch64"].iter().any(|name| variable("CARGO_CFG_TARGET_ARCH") == *name)
        && variable("CARGO_CFG_TARGET_POINTER_WIDTH") == "64";
    let mut compiler = Command::new(variable("RUSTC"));
    compiler.args(["--crate-name", name, "--crate-type", "bin", "--edition", "2024", "--target"]);
    compiler.arg(variable("TARGET")).arg("-o").arg(&image).arg(source);
    // Whatever the core is built with: of these few lines, nothing is left out that a debugger would want, and nothing of
    // the standard library is there.
    for option in
        ["opt-level=s", "panic=abort", "relocation-model=static", "target-feature=+crt-static", "strip=symbols"]
    {
        compiler.args(["-C", option]);
    }
    for option in ["-nostartfiles", "-nostdlib", "-Wl,--build-id=none", "-Wl,-z,norelro"] {
        compiler.arg(format!("-Clink-arg={option}"));
    }
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        compiler.arg("-C").arg([OsString::from("linker="), linker].into_iter().collect::<OsString>());
    }
    let built = known && compiler.status().is_ok_and(|status| status.success());
    if !built {
        if known {
            println!("cargo::warning=the helper {name} could not be built: {without}");
        }
        fs::write(&image, b"")?;
    }
    Ok(())
}
